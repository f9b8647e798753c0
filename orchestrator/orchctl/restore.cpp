// orchctl restore: a backup becomes the store of a daemon that has none.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"
#include "base/units.h"
#include "orchctl/daemon.h"
#include "store/store.h"

namespace orch::orchctl {
namespace {

namespace fs = std::filesystem;

/// Why a daemon of this state directory may be at work; nothing: there is none.
std::optional<Refusal> daemon_at_work(const Session& session) {
  auto daemon = Daemon::find(session, Daemon::Time(10));
  if (!daemon) {
    if (daemon.error().nobody) return std::nullopt;
    return daemon.error();
  }
  const auto answer = daemon->get("/v1/daemon");
  if (!answer && answer.error().nobody) return std::nullopt;
  Refusal refusal;
  refusal.what = answer ? "a daemon runs with the state directory " + state_directory(session).string() +
                              "; end it first: orchctl down"
                        : answer.error().what;
  return refusal;
}

}  // namespace

int restore(Session& session, const RestoreArguments& arguments) {
  std::error_code error;
  if (!fs::is_regular_file(arguments.file, error)) return bad_input(session, quote(arguments.file) + " is no file");
  if (const auto refusal = daemon_at_work(session)) return refuse(session, *refusal);
  const fs::path directory =
      fs::absolute(arguments.database.empty() ? database_directory(session).string() : arguments.database)
          .lexically_normal();
  const fs::path state = fs::absolute(state_directory(session));
  for (const fs::path& folder : {state, directory}) {
    const bool is_new = fs::create_directories(folder, error);
    if (!error && is_new) fs::permissions(folder, fs::perms::owner_all, error);
    if (error)
      return refuse(session, {kFailed, folder.string() + " cannot be made: " + error.message(), "", false, false});
  }
  if (const auto restored = store::restore_backup(arguments.file, directory); !restored)
    return refuse(session, {kFailed, restored.error().what, "", false, false});
  const fs::path database = directory / "orch.db";
  const auto bytes = fs::file_size(database, error);
  if (session.json) {
    print_json(session, {{"file", database.string()}, {"bytes", bytes}});
    return kWell;
  }
  session.out
      << shown(database.string(), 400) << ": " << format_bytes(static_cast<double>(bytes))
      << ", as another instance. Jobs that the old one had are taken to be over; what they had not delivered runs "
         "again.\nStart the daemon with: orchctl up"
      << (session.state.empty() ? "" : " --state " + shown(state.string(), 400))
      << (arguments.database.empty() ? "" : " --database " + shown(directory.string(), 400)) << "\n";
  return kWell;
}

}  // namespace orch::orchctl
