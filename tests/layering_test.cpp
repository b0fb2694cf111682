#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "csrc/base/file_system.h"
#include "tests/layering_rules.h"

namespace kente {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string join(const std::vector<Violation>& found) {
  std::string text;
  for (const Violation& v : found) text += v.text() + "\n";
  return text;
}

bool is_source(const std::filesystem::path& path) {
  const std::string end = path.extension().string();
  return end == ".h" || end == ".cpp" || end == ".cu" || end == ".cuh";
}

TEST(Layering, EveryFileOfTheProjectKeepsTheRules) {
  const std::filesystem::path root = KENTE_SOURCE_DIR;
  int files = 0;
  for (const char* const folder : {"csrc", "comm", "cuda", "launch", "tests", "benchmarks"}) {
    if (!std::filesystem::exists(root / folder)) continue;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file() || !is_source(entry.path())) continue;
      ++files;
      const std::string path = std::filesystem::relative(entry.path(), root).generic_string();
      const std::string text = read_text_file(entry.path().string(), 1 << 20);
      EXPECT_EQ(join(check_file(path, text)), "");
    }
  }
  // A test that reads no file would pass for ever.
  EXPECT_GT(files, 50);
}

TEST(Layering, TheRootHoldsOnlyItsTableOfContents) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(KENTE_SOURCE_DIR))
    names.push_back(entry.path().filename().string());
  EXPECT_EQ(join(check_top_level(names)), "");
}

TEST(Layering, AnUnknownNameInTheRootIsFound) {
  EXPECT_THAT(check_top_level({"csrc", "README.md", ".ci"}), IsEmpty());
  EXPECT_THAT(join(check_top_level({"csrc", "utils"})), HasSubstr("utils:0: is not in the root"));
}

struct Seed {
  const char* name;
  const char* path;
  const char* text;
  const char* rule;  // part of what is said; empty when nothing may be found
};

// Files of a small tree, each with one fault or, to prove that the rule is not too wide, with none.
const Seed kSeeds[] = {
    {"BaseUsesConfig", "csrc/base/a.cpp", "#include \"csrc/config/recipe.h\"\n", "may not include"},
    {"ConfigUsesBase", "csrc/config/a.cpp", "#include \"csrc/base/errors.h\"\n", ""},
    {"PlanUsesData", "csrc/plan/a.cpp", "#include \"csrc/data/loader.h\"\n", "may not include"},
    {"PlanUsesComm", "csrc/plan/a.cpp", "#include \"comm/communicator.h\"\n", "may not include"},
    {"PlanUsesConfig", "csrc/plan/a.cpp", "#include \"csrc/config/recipe.h\"\n", ""},
    {"PlanUsesTensor", "csrc/plan/a.cpp", "#include <ATen/core/Tensor.h>\n", "torch"},
    {"CkptUsesMpi", "csrc/ckpt/a.cpp", "#include <mpi.h>\n", "belongs into a .cpp of comm/"},
    {"DataUsesNn", "csrc/data/a.cpp", "#include \"csrc/nn/chunk.h\"\n", "may not include"},
    {"NnUsesComm", "csrc/nn/a.cpp", "#include \"comm/communicator.h\"\n", "may not include"},
    {"NnUsesCuda", "csrc/nn/chunk.cpp", "#include \"cuda/norm.h\"\n", "may not include"},
    {"CudaOpUsesCuda", "csrc/nn/ops/norm_cuda.cpp", "#include \"cuda/norm.h\"\n", ""},
    {"NnUsesTensor", "csrc/nn/a.h", "#pragma once\n#include <ATen/core/Tensor.h>\n", ""},
    {"CommUsesNn", "comm/a.cpp", "#include \"csrc/nn/chunk.h\"\n", "may not include"},
    {"CommUsesConfig", "comm/a.cpp", "#include \"csrc/config/plan.h\"\n", "may not include"},
    {"CommUsesMpi", "comm/mpi.cpp", "#include <mpi.h>\n", ""},
    {"CommHeaderUsesMpi", "comm/mpi.h", "#pragma once\n#include <mpi.h>\n", "belongs into a .cpp"},
    {"TrainUsesComm", "csrc/train/a.cpp", "#include \"comm/communicator.h\"\n", ""},
    {"MeasureUsesTrain", "csrc/measure/a.cpp", "#include \"csrc/train/optimizer.h\"\n", ""},
    {"TrainUsesMeasure", "csrc/train/a.cpp", "#include \"csrc/measure/a.h\"\n", "may not include"},
    {"LaunchUsesNn", "launch/worker_main.cpp", "#include \"csrc/nn/chunk.h\"\n", "may not include"},
    {"LaunchUsesTrain", "launch/worker_main.cpp", "#include \"csrc/train/trainer.h\"\n", ""},
    {"ToolUsesTensor", "launch/ckpt_main.cpp", "#include <ATen/core/Tensor.h>\n", "torch"},
    {"FrontEndUsesTrain", "launch/kente_main.cpp", "#include \"csrc/train/trainer.h\"\n",
     "may not include"},
    {"CudaUsesBase", "cuda/norm.cu", "#include \"csrc/base/errors.h\"\n", "may not include"},
    {"CudaUsesTorch", "cuda/norm.cu", "#include <ATen/core/Tensor.h>\n", "torch"},
    {"CodeUsesTests", "csrc/train/a.cpp", "#include \"tests/support/x.h\"\n", "may not include"},
    {"TestsUseAll", "tests/a.cpp", "#include <mpi.h>\n#include \"cuda/norm.h\"\n", ""},
    {"TorchTorch", "tests/a.cpp", "#include <torch/torch.h>\n", "never included"},
    {"AtenAten", "csrc/nn/a.cpp", "#include <ATen/ATen.h>\n", "never included"},
    {"TorchNn", "csrc/nn/a.cpp", "#include <torch/nn/module.h>\n", "never included"},
    {"TorchOptim", "csrc/nn/a.cpp", "#include <torch/optim/adam.h>\n", "never included"},
    {"HashUsesOpenssl", "csrc/base/hash.cpp", "#include <openssl/evp.h>\n#include <xxhash.h>\n",
     ""},
    {"RngUsesOpenssl", "csrc/base/rng.cpp", "#include <openssl/evp.h>\n", "hash.cpp"},
    {"HeaderUsesFmt", "csrc/base/a.h", "#pragma once\n#include <fmt/core.h>\n", "into a .cpp"},
    {"BaseUsesJson", "csrc/base/a.cpp", "#include <nlohmann/json.hpp>\n", "not for base"},
    {"PlanUsesGeneratedMessages", "csrc/plan/a.cpp", "#include \"csrc/config/recipe.pb.h\"\n",
     "csrc/config or comm/"},
    {"TrainUsesCli", "csrc/train/a.cpp", "#include <CLI/CLI.hpp>\n", "belongs into launch/"},
    {"RelativePath", "csrc/plan/a.cpp", "#include \"mesh.h\"\n", "path from the root"},
    {"OursInAngles", "csrc/plan/a.cpp", "#include <csrc/plan/mesh.h>\n", "in quotes"},
    {"UnknownFolder", "csrc/utils/a.cpp", "int x;\n", "no folder of the tree"},
    {"IncludeInAComment", "csrc/plan/a.cpp", "// #include <mpi.h>\n", ""},
    {"DeviceSynchronize", "csrc/device/a.cpp", "void f() { cudaDeviceSynchronize(); }\n", "event"},
    {"DeviceSynchronizeInTest", "tests/a.cpp", "void f() { cudaDeviceSynchronize(); }\n", ""},
    {"GetenvInTrain", "csrc/train/a.cpp", "auto x = std::getenv(name);\n", "only in launch/"},
    {"GetenvInLaunch", "launch/x_main.cpp", "auto x = std::getenv(name);\n", ""},
    {"ExitInTrain", "csrc/train/a.cpp", "void f() {\n  std::exit(1);\n}\n", "throw"},
    {"BareAbort", "comm/a.cpp", "void f() {\n  abort();\n}\n", "throw"},
    {"AbortOfAnObject", "csrc/train/a.cpp", "void f(C& comm) {\n  comm.abort(3);\n}\n", ""},
    {"ExitInMain", "launch/x_main.cpp", "int main() {\n  std::exit(1);\n}\n", ""},
    {"CatchAllThatHides", "csrc/plan/a.cpp", "void f() { try { g(); } catch (...) { h(); } }\n",
     "hides"},
    {"CatchAllThatRethrows", "csrc/plan/a.cpp",
     "void f() { try { g(); } catch (...) { h(); throw; } }\n", ""},
    {"CatchAllThatKeeps", "csrc/plan/a.cpp",
     "void f() { try { g(); } catch (...) { e = std::current_exception(); } }\n", ""},
    {"Rand", "csrc/data/a.cpp", "int x = rand();\n", "counter-based"},
    {"OperandIsNotRand", "csrc/data/a.cpp", "int x = operand();\n", ""},
    {"Sleep", "comm/a.cpp", "std::this_thread::sleep_for(t);\n", "no sleeping"},
    {"UsingInHeader", "csrc/plan/a.h", "#pragma once\nusing namespace std;\n", "using-directive"},
    {"NoPragmaOnce", "csrc/plan/a.h", "int x;\n", "#pragma once"},
    {"Ifdef", "csrc/train/a.cpp", "#ifdef KENTE_CUDA\n", "a file that CMake chooses"},
    {"IfdefOfTheCompiler", "csrc/nn/a.cpp", "#if defined(__x86_64__)\n", ""},
    {"ToDo", "csrc/plan/a.cpp",
     "// TO"
     "DO later\n",
     "do it"},
    {"MachinePath", "csrc/plan/a.cpp",
     "auto x = \"/ho"
     "me/me\";\n",
     "one machine"},
    {"TrailingBlank", "csrc/plan/a.cpp", "int x; \n", "blank at the end"},
    {"WordInAString", "csrc/plan/a.cpp", "auto x = \"getenv rand() std::exit(1)\";\n", ""},
    {"BracesInAString", "csrc/plan/a.cpp", "void f() { g(\"}}}{\", '{', R\"(\"{)\"); }\n", ""},
};

class SeededFault : public testing::TestWithParam<Seed> {};

TEST_P(SeededFault, IsFoundAndNothingElse) {
  const Seed& seed = GetParam();
  const std::vector<Violation> found = check_file(seed.path, seed.text);
  if (std::string(seed.rule).empty()) {
    EXPECT_EQ(join(found), "");
  } else {
    ASSERT_EQ(found.size(), 1u) << join(found);
    EXPECT_THAT(found[0].rule, HasSubstr(seed.rule));
  }
}

INSTANTIATE_TEST_SUITE_P(Layering, SeededFault, testing::ValuesIn(kSeeds),
                         [](const auto& info) { return std::string(info.param.name); });

std::string lines(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += "g();\n";
  return text;
}

TEST(LayeringSizes, AFunctionOf61LinesIsFoundAndOneOf60IsNot) {
  const std::string head =
      "namespace kente {\nclass C : public B {\n public:\n  int f(int a) const {\n";
  EXPECT_EQ(join(check_file("csrc/plan/a.cpp", head + lines(58) + "  }\n};\n}\n")), "");
  const auto found = check_file("csrc/plan/a.cpp", head + lines(59) + "  }\n};\n}\n");
  ASSERT_EQ(found.size(), 1u) << join(found);
  EXPECT_EQ(found[0].line, 4);
  EXPECT_EQ(found[0].rule, "a function of 61 lines, at most 60");
}

TEST(LayeringSizes, ALongTableIsNotAFunction) {
  EXPECT_EQ(join(check_file("csrc/plan/a.cpp", "const int kTable[] = {\n" + lines(80) + "};\n")),
            "");
}

TEST(LayeringSizes, AHeaderOf201LinesAndASourceOf401AreFound) {
  const std::string pragma = "#pragma once\n";
  EXPECT_EQ(join(check_file("csrc/plan/a.h", pragma + lines(199))), "");
  EXPECT_THAT(join(check_file("csrc/plan/a.h", pragma + lines(200))), HasSubstr("201 lines"));
  EXPECT_EQ(join(check_file("csrc/plan/a.cpp", lines(400))), "");
  EXPECT_THAT(join(check_file("csrc/plan/a.cpp", lines(401))), HasSubstr("401 lines"));
}

TEST(LayeringSizes, ColumnsAreCountedInCharactersNotBytes) {
  const std::string accents(97, 'x');
  EXPECT_EQ(join(check_file("csrc/plan/a.cpp", "// " + accents + "\n")), "");
  EXPECT_EQ(join(check_file("csrc/plan/a.cpp", "// \u00e9" + accents.substr(1) + "\n")), "");
  EXPECT_THAT(join(check_file("csrc/plan/a.cpp", "// x" + accents + "\n")),
              HasSubstr("101 columns"));
}

TEST(CodeOnly, BlanksCommentsAndLiteralsAndKeepsLinesAndColumns) {
  EXPECT_EQ(code_only("a; // b\nc \"d\\\"e\" /* f\ng */ 'h' 1'000;"),
            "a;     \nc            \n         1'000;");
}

}  // namespace
}  // namespace kente
