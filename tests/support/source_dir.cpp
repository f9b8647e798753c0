#include "support/source_dir.h"

namespace orch::test {

const std::filesystem::path& source_dir() {
  static const std::filesystem::path root = ORCH_SOURCE_DIR;
  return root;
}

}  // namespace orch::test
