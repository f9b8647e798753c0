// What all commands of orchctl share: where they write, what was asked of every command, how they end.
#pragma once

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json_fwd.hpp>

#include "base/diagnostics.h"
#include "report/table.h"

namespace orch::orchctl {

/// Exit codes.
enum Exit : int { kWell = 0, kFailed = 1, kBadInput = 2 };

/// Where the files that come with the program are: beside the installed program, or in the source tree it was built
/// from.
struct DataFolders {
  std::filesystem::path catalog, policies, templates, schemas, examples;
};

struct Session {
  std::ostream& out;
  std::ostream& err;
  DataFolders data;
  bool json = false;
  std::string color = "auto";
  std::vector<std::string> catalogs;  ///< a site's own files and folders, read after those that ship
  report::Style style;
};

/// The command that was named; set by the parser, run by main.
using Chosen = std::function<int()>;

/// A command with the options that every command has. `example` stands at the end of its --help.
CLI::App* add_command(CLI::App& app, Session& session, const std::string& name, const std::string& help,
                      const std::string& example);

void add_validate(CLI::App& app, Session& session, Chosen& chosen);
void add_plan(CLI::App& app, Session& session, Chosen& chosen);
void add_explain(CLI::App& app, Session& session, Chosen& chosen);
void add_catalog(CLI::App& app, Session& session, Chosen& chosen);
void add_policy(CLI::App& app, Session& session, Chosen& chosen);
void add_cluster(CLI::App& app, Session& session, Chosen& chosen);
void add_schema(CLI::App& app, Session& session, Chosen& chosen);
void add_completion(CLI::App& app, Session& session, Chosen& chosen);

/// Prints what is wrong and ends with kBadInput.
int bad_input(Session& session, const Diagnostics& diagnostics);
int bad_input(Session& session, const std::string& what);

/// One JSON value and a newline; bytes that are not UTF-8 (of a file's name, say) are replaced.
void print_json(Session& session, const nlohmann::ordered_json& value);

}  // namespace orch::orchctl
