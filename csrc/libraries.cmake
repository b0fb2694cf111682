# The libraries we use, as targets. Debian's packages, and libtorch out of the private Python environment.
find_package(Threads REQUIRED)
find_package(OpenSSL 3 REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(Protobuf 3.21 REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
find_library(KENTE_XXHASH xxhash REQUIRED)

# MPI's C++ bindings are dead weight: without them mpi.h compiles in 0.03 s.
target_compile_definitions(MPI::MPI_C INTERFACE OMPI_SKIP_MPICXX=1)

# libtorch: the PyPI wheel that launch/setup put into .venv.
file(GLOB KENTE_SITE_PACKAGES ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages)
set(KENTE_TORCH_DIR "${KENTE_SITE_PACKAGES}/torch" CACHE PATH "torch folder of the PyPI wheel")
if(NOT EXISTS ${KENTE_TORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "no libtorch in '${KENTE_TORCH_DIR}': run launch/setup, or set KENTE_TORCH_DIR")
endif()
set(KENTE_NVIDIA_LIB ${KENTE_TORCH_DIR}/../nvidia/cu13/lib)

# -idirafter: the wheel carries old protobuf and fmt headers that would shadow the system's.
add_library(kente_torch INTERFACE)
target_compile_options(kente_torch INTERFACE
  "SHELL:-idirafter ${KENTE_TORCH_DIR}/include"
  "SHELL:-idirafter ${KENTE_TORCH_DIR}/include/torch/csrc/api/include")
target_compile_definitions(kente_torch INTERFACE TORCH_ASSERT_ONLY_METHOD_OPERATORS)
target_link_libraries(kente_torch INTERFACE ${KENTE_TORCH_DIR}/lib/libtorch_cpu.so
                      ${KENTE_TORCH_DIR}/lib/libc10.so)
target_link_options(kente_torch INTERFACE
  -Wl,-rpath,${KENTE_TORCH_DIR}/lib -Wl,-rpath,${KENTE_NVIDIA_LIB}
  -Wl,-rpath-link,${KENTE_TORCH_DIR}/lib -Wl,-rpath-link,${KENTE_NVIDIA_LIB})

# The GPU part, installed by launch/setup --cuda: nvcc, libtorch's CUDA libraries, NCCL.
if(KENTE_CUDA)
  set(CMAKE_CUDA_ARCHITECTURES 75 80 86 89 90 100 120 CACHE STRING "GPU generations to compile for")
  enable_language(CUDA)
  # CMake 3.25 does not know yet that nvcc 13 does C++20.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  find_package(CUDAToolkit 13 REQUIRED)
  set(KENTE_NCCL_DIR ${KENTE_TORCH_DIR}/../nvidia/nccl)
  find_path(KENTE_NCCL_INCLUDE nccl.h HINTS ${KENTE_NCCL_DIR}/include REQUIRED)
  find_library(KENTE_CUBLASLT NAMES libcublasLt.so.13 cublasLt HINTS ${KENTE_NVIDIA_LIB} REQUIRED)
  find_library(KENTE_NCCL NAMES libnccl.so.2 nccl HINTS ${KENTE_NCCL_DIR}/lib REQUIRED)
  target_link_libraries(kente_torch INTERFACE ${KENTE_TORCH_DIR}/lib/libtorch_cuda.so
                        ${KENTE_TORCH_DIR}/lib/libc10_cuda.so CUDA::cudart)
  # libtorch_cuda finds these itself at run time; the linker wants to see them too.
  foreach(library cudnn cusparselt nccl nvshmem)
    target_link_options(kente_torch INTERFACE -Wl,-rpath-link,${KENTE_TORCH_DIR}/../nvidia/${library}/lib)
  endforeach()
endif()
