// orchctl schema: the JSON Schemas of the files people write and of what --json prints, for editors and programs.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/yaml.h"
#include "orchctl/load.h"

namespace orch::orchctl {
int schema(Session& session, const std::string& kind) {
  std::vector<std::string> known;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(session.data.schemas, ignored))
    if (entry.path().extension() == ".json") known.push_back(entry.path().stem().string());
  std::ranges::sort(known);
  if (kind.empty()) {
    if (session.json)
      print_json(session, known);
    else
      for (const std::string& name : known) session.out << name << "\n";
    return kWell;
  }
  if (std::ranges::find(known, kind) == known.end())
    return bad_input(session,
                     "no schema " + quote(kind) + hint_sentence(kind, known) + " There are " + join(known, ", ") + ".");
  Diagnostics diagnostics;
  const auto text = read_file(session.data.schemas / (kind + ".json"), 1 << 20, diagnostics);
  if (!text) return bad_input(session, diagnostics);
  session.out << *text;
  return kWell;
}

}  // namespace orch::orchctl
