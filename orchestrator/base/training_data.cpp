#include "base/training_data.h"

#include <initializer_list>
#include <string_view>
#include <vector>

#include "base/text.h"

namespace orch {
namespace {

namespace fs = std::filesystem;

/// Files that were looked for, until one is there.
class Search {
 public:
  explicit Search(const fs::path& data) : data_(data) {}

  bool find(const std::string& name, std::initializer_list<std::string_view> ends) {
    if (name.empty()) return false;
    for (const std::string_view end : ends) {
      if (name.starts_with('/') && !end.empty()) continue;  // a whole path is what it is
      const fs::path file = data_ / (name + std::string(end));
      std::error_code error;
      if (fs::is_regular_file(file, error)) {
        found_ = file;
        return true;
      }
      looked_.push_back(file.string());
    }
    return false;
  }

  Result<fs::path> found(const std::string& what) const {
    if (!found_.empty()) return found_;
    return Error{what + " is not there: " + join(looked_, ", ")};
  }

 private:
  const fs::path& data_;
  fs::path found_;
  std::vector<std::string> looked_;
};

}  // namespace

Result<fs::path> find_training_data(const std::string& said, const std::string& task, const std::string& hf_id,
                                    const fs::path& data) {
  Search search(data);
  if (!said.empty()) {
    search.find(said, {"", ".jsonl", ".json"});
    return search.found("the data set " + quote(said));
  }
  if (!search.find(task, {".jsonl", ".json"})) search.find(hf_id, {"", ".jsonl", ".json"});
  return search.found("the data of task " + quote(task));
}

Result<fs::path> find_reward(const std::string& said, const fs::path& data) {
  Search search(data);
  search.find(said, {"", ".yaml", ".yml"});
  return search.found("the reward " + quote(said));
}

}  // namespace orch
