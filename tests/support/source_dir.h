// Where the tree under test lies.
#pragma once

#include <filesystem>

namespace orch::test {

/// The root of the source tree. One file is compiled with it, so that clones in other places share all other objects.
const std::filesystem::path& source_dir();

}  // namespace orch::test
