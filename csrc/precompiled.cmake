# Headers that most files read are read once: it saves a third of a clean build. The preset tsan does without, so that
# every file still has to name what it needs.
option(KENTE_PRECOMPILE "Precompile the headers that most files include" OFF)

set(kente_std_headers <algorithm> <array> <cmath> <cstdint> <cstdio> <cstring> <filesystem> <fstream> <functional>
    <limits> <map> <memory> <numeric> <optional> <set> <sstream> <string> <string_view> <utility> <vector>)
# Any operation that makes a tensor reads ATen/Context.h, and with it every intrinsic of the processor: some 3 s a file.
set(kente_tensor_headers <nlohmann/json.hpp> <ATen/core/Tensor.h> <ATen/ops/empty.h>)

# kente_precompiled(NAME [PROGRAM] HEADERS ... [LIBRARIES ...] [OPTIONS ...]): a set of headers. PROGRAM: for
# executables, whose code is compiled with -fPIE, not with -fPIC.
function(kente_precompiled name)
  cmake_parse_arguments(ARG "PROGRAM" "" "HEADERS;LIBRARIES;OPTIONS" ${ARGN})
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/precompiled/${name}.cpp CONTENT "// Only its headers matter.\n")
  add_library(${name} OBJECT ${PROJECT_BINARY_DIR}/precompiled/${name}.cpp)
  target_link_libraries(${name} PRIVATE kente_flags Threads::Threads ${ARG_LIBRARIES})
  target_precompile_headers(${name} PRIVATE ${ARG_HEADERS})
  if(ARG_PROGRAM)
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${name} PRIVATE -fPIE)
  endif()
  target_compile_options(${name} PRIVATE ${ARG_OPTIONS})
endfunction()

# kente_reuse(NAME TARGET...): the targets read that set before anything else.
function(kente_reuse name)
  if(NOT KENTE_PRECOMPILE)
    return()
  endif()
  foreach(target ${ARGN})
    target_precompile_headers(${target} REUSE_FROM ${name})
  endforeach()
endfunction()

if(KENTE_PRECOMPILE)
  # For ccache, see CMakeLists.txt. With a precompiled header g++ 12 sees an overflow, too, in
  # "text" + std::string that is not there (GCC bug 105651); the other presets keep these warnings.
  target_compile_options(kente_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess -Wno-stringop-overflow
                                               -Wno-array-bounds>)
  kente_precompiled(kente_std HEADERS ${kente_std_headers} <nlohmann/json.hpp>)
  kente_precompiled(kente_tensors HEADERS ${kente_std_headers} ${kente_tensor_headers} LIBRARIES kente_torch)
  kente_precompiled(kente_programs PROGRAM HEADERS ${kente_std_headers} <nlohmann/json.hpp>
                    OPTIONS ${kente_driver_options})
  kente_precompiled(kente_cases PROGRAM HEADERS ${kente_std_headers} <gmock/gmock.h> <gtest/gtest.h>
                    LIBRARIES GTest::gtest GTest::gmock OPTIONS ${kente_driver_options})
  kente_precompiled(kente_tensor_cases PROGRAM
                    HEADERS ${kente_std_headers} <gmock/gmock.h> <gtest/gtest.h> ${kente_tensor_headers}
                    LIBRARIES kente_torch GTest::gtest GTest::gmock OPTIONS ${kente_driver_options})
endif()
