#include "report/rejections.h"

#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>

#include "base/text.h"
#include "base/units.h"

namespace orch::report {
namespace {

using nlohmann::ordered_json;

/// Names in the order in which they are first met.
class Names {
 public:
  void add(const std::string& name) {
    if (met_.insert(name).second) list_.push_back(name);
  }
  std::string one_or_any() const { return list_.size() == 1 ? list_.front() : "*"; }
  const std::vector<std::string>& list() const { return list_; }

 private:
  std::set<std::string> met_;
  std::vector<std::string> list_;
};

struct Row {
  std::string rule, reason;
  Names models, tasks;
  std::int64_t count = 0;
};

/// `mmmu, docvqa`, or with many `mmmu, docvqa + 3 more`.
std::string few(const ordered_json& names) {
  constexpr std::size_t kMost = 3;
  const auto list = names.get<std::vector<std::string>>();
  if (list.size() <= kMost) return join(list, ", ");
  return join(std::span(list).first(kMost - 1), ", ") + " + " + std::to_string(list.size() - (kMost - 1)) + " more";
}

}  // namespace

ordered_json rejections_json(std::span<const matrix::Rejection> rejected) {
  std::vector<Row> rows;
  std::map<std::pair<std::string, std::string>, std::size_t> row_of;
  for (const matrix::Rejection& rejection : rejected) {
    const auto [at, added] = row_of.try_emplace({rejection.rule, rejection.reason}, rows.size());
    if (added) rows.push_back({rejection.rule, rejection.reason, {}, {}, 0});
    Row& row = rows[at->second];
    row.models.add(rejection.model);
    row.tasks.add(rejection.task);
    row.count += rejection.count;
  }
  ordered_json list = ordered_json::array();
  for (const Row& row : rows)
    list.push_back({{"model", row.models.one_or_any()},
                    {"task", row.tasks.one_or_any()},
                    {"rule", row.rule},
                    {"reason", row.reason},
                    {"count", row.count},
                    {"models", row.models.list()},
                    {"tasks", row.tasks.list()}});
  return list;
}

void print_rejections(std::ostream& out, const Style& style, const ordered_json& rows) {
  Table table({{"models"}, {"tasks"}, {"rule"}, {"combinations", Align::kRight}, {"reason", Align::kLeft, 400}});
  for (const auto& row : rows)
    table.add({few(row["models"]), few(row["tasks"]), row["rule"].get<std::string>(),
               grouped(row["count"].get<long long>()), row["reason"].get<std::string>()});
  table.print(out, style);
}

std::int64_t count_of(std::span<const matrix::Rejection> rejected) {
  std::int64_t count = 0;
  for (const matrix::Rejection& row : rejected) count += row.count;
  return count;
}

}  // namespace orch::report
