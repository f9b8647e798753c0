#include "orchctl/source.h"

#include <nlohmann/json.hpp>
#include <ostream>
#include <sstream>

#include "api/views.h"
#include "http/message.h"
#include "orchctl/load.h"

namespace orch::orchctl {
namespace {

using nlohmann::ordered_json;

Refusal unknown(const Error& error) { return {kBadInput, error.what, "", false, false}; }

control::Now now() {
  // Nothing is served: no term of a lease runs.
  return {control::Serving{}, std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now())};
}

/// The policy that was set last. Here it only orders what waits: one that cannot be read any more is no reason to show
/// nothing.
policy::Policy policy_of(const Session& session, const store::Store& store) {
  Diagnostics ignored;
  if (const auto text = store.policy_text())
    if (const auto root = parse_yaml(*text, "policy", ignored))
      if (auto policy = policy::read_policy(*root, "policy", ignored)) return *std::move(policy);
  auto usual = load_policy(session, "", ignored);
  return usual ? *std::move(usual) : policy::Policy();
}

std::string text_of(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace

Result<std::monostate, Refusal> Source::open_store(const Refusal& why) {
  const std::filesystem::path directory = database_directory(session_);
  std::error_code ignored;
  if (!std::filesystem::exists(directory / "orch.db", ignored)) return why;
  const auto unreadable = [&](const std::string& reason) {
    return Refusal{kNoDaemon, why.what + "; its store cannot be read either: " + reason, "", false, false};
  };
  store::Options options;
  options.read_only = true;
  auto store = store::Store::open(directory, options);
  if (!store) return unreadable(store.error().what);
  try {
    control::State state = (*store)->restore(policy_of(session_, **store), {});
    left_ = std::make_unique<Left>(Left{*std::move(store), std::move(state)});
  } catch (const store::Failure& failure) {
    return unreadable(failure.what());
  }
  return std::monostate{};
}

Result<std::string, Refusal> Source::read(const std::string& target, const FromStore& from_store) {
  if (!left_) {
    if (!daemon_) {
      auto found = Daemon::find(session_);
      if (found)
        daemon_.emplace(*std::move(found));
      else if (!found.error().nobody)
        return found.error();
      else if (const auto opened = open_store(found.error()); !opened)
        return opened.error();
    }
    if (daemon_) {
      auto answer = daemon_->get(target);
      if (answer || !answer.error().nobody) return answer;
      if (const auto opened = open_store(answer.error()); !opened) return opened.error();
    }
  }
  try {
    return from_store(*left_);
  } catch (const store::Failure& failure) {
    return Refusal{kFailed, failure.what(), "", false, false};
  }
}

Result<ordered_json, Refusal> Source::status(const std::string& sweep) {
  const std::string query = sweep.empty() ? "" : "?sweep=" + http::percent_encode(sweep);
  return json_of(read("/v1/status" + query, [&](const Left& left) -> Result<std::string, Refusal> {
    api::DaemonView daemon;
    daemon.state = "down";
    daemon.version = ORCH_VERSION;
    daemon.instance = left.store->instance();
    daemon.policy = left.state.policy.name;
    std::optional<control::SweepId> only;
    if (!sweep.empty()) {
      const auto found = api::find_sweep(left.state, sweep);
      if (!found) return unknown(found.error());
      only = *found;
    }
    return text_of(api::status_json(left.state, daemon, only, now()));
  }));
}

Result<ordered_json, Refusal> Source::jobs() {
  return json_of(read("/v1/jobs", [](const Left& left) -> Result<std::string, Refusal> {
    return text_of(api::jobs_json(left.state, control::Utc::min(), now()));
  }));
}

Result<std::string, Refusal> Source::cells(const std::string& sweep, const std::string& state) {
  const std::string query = state.empty() ? "" : "?state=" + http::percent_encode(state);
  return read("/v1/sweeps/" + http::percent_encode(sweep) + "/cells" + query,
              [&](const Left& left) -> Result<std::string, Refusal> {
                const auto found = api::find_sweep(left.state, sweep);
                if (!found) return unknown(found.error());
                std::optional<control::CellState> only;
                if (!state.empty()) {
                  const auto known = api::cell_state_named(state);
                  if (!known) return unknown(known.error());
                  only = *known;
                }
                std::ostringstream out;
                api::write_cells(out, left.state, *found, only);
                return out.str();
              });
}

Result<std::string, Refusal> Source::results(const std::string& sweep) {
  return read("/v1/sweeps/" + http::percent_encode(sweep) + "/results",
              [&](const Left& left) -> Result<std::string, Refusal> {
                const auto found = api::find_sweep(left.state, sweep);
                if (!found) return unknown(found.error());
                std::ostringstream out;
                api::write_results(out, *left.store, &left.state, *found);
                return out.str();
              });
}

Result<ordered_json, Refusal> Source::cell(const std::string& id) {
  return json_of(read("/v1/cells/" + http::percent_encode(id), [&](const Left& left) -> Result<std::string, Refusal> {
    const auto found = api::find_cell(left.state, *left.store, id);
    if (!found) return unknown(found.error());
    return text_of(api::cell_json(left.state, *left.store, *found, now()));
  }));
}

Result<ordered_json, Refusal> Source::curve(const std::string& id, std::size_t most) {
  return json_of(read("/v1/cells/" + http::percent_encode(id) + "/curve?most=" + std::to_string(most),
                      [](const Left&) -> Result<std::string, Refusal> {
                        return Refusal{kNoDaemon, "curves are files that the daemon reads; start it with: orchctl up",
                                       "", false, false};
                      }));
}

Result<ordered_json, Refusal> Source::job(const std::string& id) {
  return json_of(read("/v1/jobs/" + http::percent_encode(id), [&](const Left& left) -> Result<std::string, Refusal> {
    const auto found = api::find_job(left.state, id);
    if (!found) return unknown(found.error());
    return text_of(api::job_details_json(left.state, left.state.jobs.at(*found), {}, now()));
  }));
}

void say_if_down(Session& session, const Source& source) {
  if (source.is_down())
    session.err << "orchctl: no daemon runs; this was read from its store in " << database_directory(session).string()
                << "\n";
}

}  // namespace orch::orchctl
