#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "csrc/base/errors.h"

namespace kente {

/// A valid gpt2 recipe; a test replaces one line of it.
inline const std::string kGpt2Recipe = R"(version: 1
name: "small"
steps: 30
sequence_length: 16
global_batch_tokens: 256
model {
  model_type: gpt2
  vocab_size: 96
  hidden_size: 32
  num_hidden_layers: 4
  num_attention_heads: 4
}
data {
  source { id: "a" weight: 2 }
  source { id: "b" }
}
optimizer { learning_rate: 0.003 }
)";

/// text with the first occurrence of from replaced.
inline std::string with(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) throw InternalError("the text has no " + from);
  return text.replace(at, from.size(), to);
}

/// A valid llama recipe.
inline std::string llama_recipe() {
  return with(kGpt2Recipe, "model_type: gpt2",
              "model_type: llama intermediate_size: 88 num_key_value_heads: 2");
}

/// What a UsageError or FormatError says; fails by exception if none or another comes.
inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const UsageError& error) {
    return error.what();
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no error";
}

/// One change of a text, where the error stands and what it says.
struct WrongText {
  std::string from, to, place, says;
};

/// text with that change is refused by parse, which names it file.
inline void expect_refused(const WrongText& wrong, const std::string& text, const std::string& file,
                           const std::function<void(const std::string& text)>& parse) {
  const std::string error = error_of([&] { parse(with(text, wrong.from, wrong.to)); });
  EXPECT_THAT(error, testing::StartsWith(file + wrong.place + ": ")) << wrong.to;
  EXPECT_THAT(error, testing::HasSubstr(wrong.says)) << wrong.to;
}

}  // namespace kente
