// What runs the cells of the native engine, as the loop sees it: models in the memory of this worker's ranks.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/wire/messages.h"
#include "run/work.h"

namespace orch::worker {

class ModelEngine {
 public:
  virtual ~ModelEngine() = default;
  /// On these ranks, which do nothing else meanwhile. `folder`: of the attempt; `job`: the job's directory.
  virtual Result<std::unique_ptr<Work>> start(const wire::Leased& leased, const std::filesystem::path& folder,
                                              const std::filesystem::path& job, std::vector<int> ranks) = 0;
  /// Can be read when look() has something to do.
  virtual int descriptor() const = 0;
  virtual void look() = 0;
  /// Who of the ranks is gone: then nothing more can be computed.
  virtual std::optional<std::string> lost() const = 0;
  /// What is in memory, as Ask::loads names it.
  virtual std::vector<std::string> loaded() const = 0;
  /// The ranks that have it.
  virtual std::vector<int> ranks_with(const std::string& loads) const = 0;
};

}  // namespace orch::worker
