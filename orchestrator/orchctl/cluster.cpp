// orchctl cluster: describe the machine that jobs run on.
#include "cluster/detect.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "orchctl/load.h"

namespace orch::orchctl {
int cluster_detect(Session& session, const std::string& output) {
  Diagnostics diagnostics;
  const Catalog catalog = load_catalog(session, diagnostics);
  if (!diagnostics.ok()) return bad_input(session, diagnostics);
  const auto answers = cluster::ask_slurm();
  if (!answers) {
    session.err << "orchctl: " << answers.error().what << "\n";
    return kFailed;
  }
  const auto text = cluster::draft(*answers, catalog);
  if (!text) {
    session.err << "orchctl: " << text.error().what << "\n";
    return kFailed;
  }
  if (!output.empty()) {
    if (std::filesystem::exists(output)) return bad_input(session, quote(output) + " exists; it is not overwritten");
    std::ofstream file(output, std::ios::binary);
    file << *text;
    file.close();
    if (!file) {
      session.err << "orchctl: " << quote(output) << " could not be written\n";
      return kFailed;
    }
  }
  if (session.json)
    print_json(session, {{"file", output.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(output)},
                         {"draft", *text}});
  else if (output.empty())
    session.out << *text;
  else
    session.out << "wrote " << shown(output, 400) << "; read it through, then: orchctl validate " << shown(output, 400)
                << "\n";
  return kWell;
}

}  // namespace orch::orchctl
