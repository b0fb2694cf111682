#pragma once

#include <string>

#include "csrc/base/dtype.h"

namespace google::protobuf {
class Message;
}
namespace kente::proto {
enum Precision : int;
}

namespace kente {

/// Between generated types and ours, for the parsers of this folder.
DType dtype_of(proto::Precision precision);
/// Throws InternalError for a type that a recipe cannot ask for.
proto::Precision precision_of(DType dtype);

/// Protobuf text, deterministic: fields in the order of their numbers.
std::string print(const google::protobuf::Message& message);

}  // namespace kente
