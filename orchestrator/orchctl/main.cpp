// orchctl: the command line. One file per command; this one finds the data, parses, and runs the command that was
// named.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "orchctl/command.h"
#include "orchctl/load.h"

namespace orch::orchctl {

CLI::App* add_command(CLI::App& app, Session& session, const std::string& name, const std::string& help,
                      const std::string& example) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_flag("--json", session.json, "print JSON and nothing else (docs/schemas/output.json)");
  command->add_option("--color", session.color, "auto (on a terminal), always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("WHEN");
  command->add_option("--catalog", session.catalogs, "a site's own catalog file or folder; may be given several times")
      ->type_name("PATH")
      ->expected(1)
      ->take_all();
  command->footer("Example:\n  " + example + "\n");
  return command;
}

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

namespace {

bool use_color(const std::string& when) {
  if (when != "auto") return when == "always";
  const char* term = std::getenv("TERM");
  const char* none = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) == 1 && !(none && *none) && term && std::string_view(term) != "dumb";
}

/// A word that is no command, with the nearest that is: CLI11 would only say that it was not expected.
std::optional<std::string> unknown_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return std::nullopt;
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    known.push_back(command->get_name());
  if (std::ranges::find(known, argv[1]) != known.end()) return std::nullopt;
  return "no command " + quote(argv[1]) + hint_sentence(argv[1], known) + " The commands are " + join(known, ", ") + ".";
}

int run(int argc, char** argv) {
  Session session{std::cout, std::cerr, {}, false, "auto", {}, {}};
  CLI::App app{"Plans evaluations and fine-tuning of large models on Slurm clusters.", "orchctl"};
  app.set_version_flag("--version", std::string("orchctl ") + ORCH_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 well, 1 failed, 2 bad usage or a bad file.\n"
      "Environment: ORCH_CATALOG, ORCH_POLICY, ORCH_CLUSTER, ORCH_DATA_DIR, NO_COLOR.\n\n"
      "Example:\n  orchctl plan examples/nightly-core.yaml\n");
  Chosen chosen;
  add_plan(app, session, chosen);
  add_validate(app, session, chosen);
  add_explain(app, session, chosen);
  add_catalog(app, session, chosen);
  add_policy(app, session, chosen);
  add_cluster(app, session, chosen);
  add_schema(app, session, chosen);
  add_completion(app, session, chosen);

  if (const auto unknown = unknown_command(app, argc, argv)) return bad_input(session, *unknown);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, std::cout, std::cerr) == 0 ? kWell : kBadInput;
  }
  session.style.color = use_color(session.color);
  std::error_code ignored;
  const auto data = find_data(std::filesystem::read_symlink("/proc/self/exe", ignored));
  if (!data)
    return bad_input(
        session,
        "the catalog that ships with the program was not found; set ORCH_DATA_DIR to the folder that holds catalog/, "
        "policies/ and templates/");
  session.data = *data;
  const int code = chosen();
  session.out.flush();
  if (!session.out) {
    session.err << "orchctl: the output could not be written to its end\n";
    return kFailed;
  }
  return code;
}

}  // namespace
}  // namespace orch::orchctl

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  try {
    return orch::orchctl::run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::cerr << "orchctl: out of memory\n";
  } catch (const std::exception& error) {
    std::cerr << "orchctl: a fault of the program itself: " << error.what() << "\n";
  }
  return orch::orchctl::kFailed;
}
