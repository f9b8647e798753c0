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

}  // namespace orch::orchctl
