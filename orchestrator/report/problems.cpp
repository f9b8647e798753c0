#include "report/problems.h"

#include <nlohmann/json.hpp>

namespace orch::report {

nlohmann::ordered_json problems_json(const Diagnostics& diagnostics) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Problem& problem : diagnostics.errors())
    list.push_back({{"file", problem.place.file},
                    {"line", problem.place.line},
                    {"column", problem.place.column},
                    {"what", problem.what}});
  return list;
}

}  // namespace orch::report
