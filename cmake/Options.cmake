# What every target is compiled with. Warnings are errors; the presets add optimisation and sanitizers.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(ORCH_CCACHE ccache)
if(ORCH_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ORCH_CCACHE})
endif()

set(ORCH_SANITIZE "" CACHE STRING "address;undefined, thread, or nothing")

add_library(orch_options INTERFACE)
target_compile_options(orch_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wcast-qual -Woverloaded-virtual -Werror
  # GCC 12 sees uninitialised and dangling memory in std::variant and std::string where there is none (PR 105562, 105329).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized -Wno-restrict>)
target_include_directories(orch_options INTERFACE ${PROJECT_SOURCE_DIR}/orchestrator)
if(ORCH_SANITIZE)
  list(JOIN ORCH_SANITIZE "," sanitizers)
  target_compile_options(orch_options INTERFACE -fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(orch_options INTERFACE -fsanitize=${sanitizers})
endif()

# For the tests' own code under the sanitizers: not optimised, and without the checks for undefined behaviour that the
# rooms have. Half of the files are tests, and this makes them compile in half the time (expand_test.cpp: 22 s to 9 s).
add_library(orch_test_options INTERFACE)
target_link_libraries(orch_test_options INTERFACE orch_options)
if(ORCH_SANITIZE)
  target_compile_options(orch_test_options INTERFACE -O0 -fno-sanitize=undefined)
endif()
