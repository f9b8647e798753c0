// Copying a model from the cache, which many nodes read over the network, to a disk of the node itself.
//
// Holds:
//  - TO/org--name/COMMIT is there whole or not at all: files are written beside it, their sizes checked, and the folder
//    renamed.
//  - Of several who stage one model to one folder at the same time one copies, and the others wait and find it.
//  - What leads out of the cache is not copied; what somebody else put where the copy would go is not used.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "base/result.h"
#include "cache/contents.h"

namespace orch::cache {

struct StageAsk {
  std::filesystem::path root;
  std::string id;
  std::string revision = "main";
  std::filesystem::path to;
  std::function<void(const std::string&)> on_wait;
};

struct Staged {
  std::filesystem::path path;
  std::string commit;
  Bytes bytes = 0;
  std::size_t files = 0;
  bool copied = false;  ///< it was not there yet
};

Result<Staged> stage(const StageAsk& ask);

}  // namespace orch::cache
