#include "orchctl/command.h"

#include <nlohmann/json.hpp>
#include <ostream>

namespace orch::orchctl {

int bad_input(Session& session, const Diagnostics& diagnostics) {
  diagnostics.print(session.err);
  return kBadInput;
}

int bad_input(Session& session, const std::string& what) {
  session.err << "orchctl: " << what << "\n";
  return kBadInput;
}

void print_json(Session& session, const nlohmann::ordered_json& value) {
  session.out << value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
}

nlohmann::ordered_json problems_json(const Diagnostics& diagnostics) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Problem& problem : diagnostics.errors())
    list.push_back({{"file", problem.place.file},
                    {"line", problem.place.line},
                    {"column", problem.place.column},
                    {"what", problem.what}});
  return list;
}

}  // namespace orch::orchctl
