#pragma once

#include <string>

#include "csrc/base/dtype.h"
#include "csrc/config/recipe.h"

namespace google::protobuf {
class Message;
}
namespace kente::proto {
enum Precision : int;
enum Model_ModelType : int;
}  // namespace kente::proto

namespace kente {

/// Between generated types and ours, for the parsers of this folder.
DType dtype_of(proto::Precision precision);
/// Throws InternalError for a type that a recipe cannot ask for.
proto::Precision precision_of(DType dtype);
ModelFamily family_of(proto::Model_ModelType type);
proto::Model_ModelType type_of(ModelFamily family);

/// Protobuf text, deterministic: fields in the order of their numbers.
std::string print(const google::protobuf::Message& message);

}  // namespace kente
