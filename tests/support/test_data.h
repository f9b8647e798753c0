// Models, tokenizers and tasks that others made, which lie beside the tree.
#pragma once

#include <filesystem>

namespace orch::test {

/// The folder `../shared/data`, or $ORCH_TEST_DATA.
std::filesystem::path test_data();

/// Whether a test that needs it goes on. Where there is none it is skipped, and fails if $ORCH_NEED_TEST_DATA is set,
/// as CI does.
bool has_test_data();

}  // namespace orch::test

// A macro, because GoogleTest's two return from the test they stand in. Skipping is for people who have the tree alone:
// .ci/run sets the variable, and there the test fails instead.
#define ORCH_NEEDS_TEST_DATA()                                                                       \
  if (!orch::test::has_test_data()) {                                                                \
    if (std::getenv("ORCH_NEED_TEST_DATA")) FAIL() << "no test data at " << orch::test::test_data(); \
    GTEST_SKIP() << "no test data at " << orch::test::test_data();                                   \
  }
