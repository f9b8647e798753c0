# orch_room(NAME [WITHOUT sources of another library...] [DEPENDS rooms and libraries...])
#
# A room of the house is a static library of all the sources in its folder. What it may use is what it names here;
# docs/architecture.md draws the same arrows.
function(orch_room name)
  cmake_parse_arguments(ARG "" "" "WITHOUT;DEPENDS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  list(TRANSFORM ARG_WITHOUT PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
  list(REMOVE_ITEM sources ${ARG_WITHOUT})
  add_library(orch_${name} STATIC ${sources})
  target_link_libraries(orch_${name} PUBLIC orch_options ${ARG_DEPENDS})
endfunction()

# orch_room_tests(NAME [DEPENDS libraries...]): one test program for tests/NAME, every test known to ctest by its own name.
function(orch_room_tests name)
  cmake_parse_arguments(ARG "" "" "DEPENDS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*_test.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(${name}_test ${sources})
  # EXPECT_* after an unbraced if is safe: GoogleTest's macros are built for it.
  target_compile_options(${name}_test PRIVATE -Wno-dangling-else)
  target_link_libraries(${name}_test PRIVATE orch_${name} orch_test_support ${ARG_DEPENDS} GTest::gmock GTest::gtest_main)
  gtest_discover_tests(${name}_test DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300 TEST_PREFIX "${ORCH_TEST_PREFIX}")
endfunction()
