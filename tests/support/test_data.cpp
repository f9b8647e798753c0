#include "support/test_data.h"

#include <cstdlib>

#include "support/source_dir.h"

namespace orch::test {

std::filesystem::path test_data() {
  const char* told = std::getenv("ORCH_TEST_DATA");
  return told && *told ? std::filesystem::path(told) : source_dir().parent_path() / "shared/data";
}

bool has_test_data() { return std::filesystem::exists(test_data() / "README.md"); }

}  // namespace orch::test
