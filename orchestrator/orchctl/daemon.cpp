#include "orchctl/daemon.h"

#include <pwd.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"
#include "base/wire/messages.h"
#include "base/yaml.h"

namespace orch::orchctl {
namespace {

namespace fs = std::filesystem;
using http::ClientErrorKind;
using nlohmann::ordered_json;

constexpr std::size_t kMostEndpoint = 64 * 1024;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

fs::path home() {
  if (const std::string given = environment("HOME"); !given.empty()) return given;
  const passwd* entry = getpwuid(getuid());
  return entry && entry->pw_dir ? entry->pw_dir : "/";
}

std::string own_host() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

Refusal no_daemon(const std::string& what) {
  Refusal refusal;
  refusal.exit = kNoDaemon;
  refusal.what = what;
  refusal.nobody = true;
  refusal.may_retry = true;
  return refusal;
}

std::string start_it(const Session& session) {
  return "start it with: orchctl up" + (session.state.empty() ? std::string() : " --state " + session.state);
}

Result<Digest> digest_of(const std::string& hexadecimal) {
  Digest digest;
  if (hexadecimal.size() != 2 * digest.bytes.size()) return Error{"its certificate is no SHA-256"};
  for (std::size_t i = 0; i < digest.bytes.size(); ++i) {
    const std::string byte = hexadecimal.substr(2 * i, 2);
    if (byte.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
      return Error{"its certificate is no SHA-256"};
    digest.bytes[i] = static_cast<std::uint8_t>(std::stoi(byte, nullptr, 16));
  }
  return digest;
}

Result<std::string> token_in(const fs::path& directory) {
  Diagnostics diagnostics;
  const auto text = read_file(directory / "user.token", 4096, diagnostics);
  if (!text)
    return Error{"the daemon runs on another host, and its token could not be read: " +
                 to_string(diagnostics.errors().front().place) + ": " + diagnostics.errors().front().what};
  return std::string(trim(*text));
}

/// What the daemon said was wrong, and what that means for the caller of this program.
Refusal refusal_of(const http::Response& response) {
  Refusal refusal;
  refusal.exit = response.status == 400 || response.status == 404 || response.status == 422 ? kBadInput : kFailed;
  refusal.may_retry = response.status == 503;
  refusal.what = "the daemon answered with status " + std::to_string(response.status);
  const auto body = ordered_json::parse(response.body, nullptr, false);
  if (!body.is_object() || !body.contains("error") || !body["error"].is_object()) return refusal;
  const ordered_json& error = body["error"];
  if (error.contains("what") && error["what"].is_string()) refusal.what = error["what"];
  if (error.contains("problems") && error["problems"].is_array() && !error["problems"].empty())
    refusal.problems = error["problems"].dump();
  return refusal;
}

}  // namespace

int refuse(Session& session, const Refusal& refusal) {
  const auto problems = ordered_json::parse(refusal.problems, nullptr, false);
  if (!problems.is_array()) {
    session.err << "orchctl: " << shown(refusal.what, 4000) << "\n";
    return refusal.exit;
  }
  for (const ordered_json& problem : problems) {
    if (!problem.is_object()) continue;
    const Place place{problem.value("file", ""), problem.value("line", 0), problem.value("column", 0)};
    const std::string where = place.file.empty() ? "orchctl" : shown(to_string(place), 400);
    session.err << where << ": " << shown(problem.value("what", ""), 4000) << "\n";
  }
  return refusal.exit;
}

fs::path state_directory(const Session& session) {
  if (!session.state.empty()) return session.state;
  if (const std::string given = environment("ORCH_STATE"); !given.empty()) return given;
  return home() / ".local" / "state" / "orch";
}

fs::path database_directory(const Session& session) {
  const fs::path state = state_directory(session);
  std::error_code ignored;
  Diagnostics unread;
  if (fs::exists(state / "orch.db", ignored)) return state;
  if (const auto text = read_file(state / "endpoint.json", kMostEndpoint, unread))
    if (const auto endpoint = wire::read<wire::Endpoint>(*text)) return fs::path(endpoint->socket).parent_path();
  return state;
}

Daemon::Daemon(std::vector<http::Endpoint> ways, http::Secret token, fs::path directory, Time answer)
    : ways_(std::move(ways)), directory_(std::move(directory)) {
  options_.token = std::move(token);
  options_.answer_time = answer;
}

Result<Daemon, Refusal> Daemon::find(const Session& session, Time answer) {
  const fs::path directory = state_directory(session), file = directory / "endpoint.json";
  std::error_code error;
  if (!fs::exists(file, error)) {
    if (error && error != std::errc::no_such_file_or_directory)
      return no_daemon(directory.string() + ": cannot be looked into (" + error.message() + ")");
    return no_daemon("no daemon runs with the state directory " + directory.string() + "; " + start_it(session));
  }
  Diagnostics diagnostics;
  const auto text = read_file(file, kMostEndpoint, diagnostics);
  if (!text) return no_daemon(file.string() + ": " + diagnostics.errors().front().what);
  const auto endpoint = wire::read<wire::Endpoint>(*text);
  if (!endpoint) return no_daemon(file.string() + ": " + endpoint.error().what + "; " + start_it(session));

  if (endpoint->host == own_host() || endpoint->port == 0) {
    if (endpoint->host != own_host())
      return no_daemon("the daemon runs on " + endpoint->host + " and serves on that host alone; run orchctl there");
    return Daemon(std::vector<http::Endpoint>{http::UnixEndpoint{endpoint->socket}}, http::Secret(), directory, answer);
  }
  const auto certificate = digest_of(endpoint->certificate);
  if (!certificate) return no_daemon(file.string() + ": " + certificate.error().what);
  const auto token = token_in(directory);
  if (!token) return Refusal{kFailed, token.error().what, "", false, false};
  std::vector<http::Endpoint> ways;
  for (const std::string& address : endpoint->addresses)
    ways.emplace_back(http::TlsEndpoint{address, static_cast<std::uint16_t>(endpoint->port), *certificate});
  if (ways.empty()) return no_daemon(file.string() + " names no address of the daemon's host " + endpoint->host);
  return Daemon(std::move(ways), http::Secret(*token), directory, answer);
}

Refusal Daemon::refusal_of(const http::ClientError& error) const {
  Refusal refusal;
  refusal.exit = kNoDaemon;
  switch (error.kind) {
    case ClientErrorKind::kNotThere:
      refusal = no_daemon("the daemon of " + directory_.string() + " does not run (" + error.what +
                          "); start it with: orchctl up");
      break;
    case ClientErrorKind::kRefused:
      refusal.what = error.what + "; the daemon belongs to somebody else, or the file's mode was changed";
      break;
    case ClientErrorKind::kTimedOut:
      refusal.what = error.what + "; the daemon may be busy or hang: its log is in " + directory_.string();
      refusal.may_retry = true;
      break;
    case ClientErrorKind::kBadCertificate:
      refusal.what = error.what + "; another program answers there, or " + (directory_ / "endpoint.json").string() +
                     " is out of date; orchctl up on the daemon's host writes it anew";
      break;
    case ClientErrorKind::kBroken:
      refusal.what = error.what + "; the daemon may have ended just now";
      refusal.may_retry = true;
      break;
  }
  return refusal;
}

Result<http::Response, Refusal> Daemon::send(const Send& send) {
  for (;; ++way_) {
    if (!client_) client_ = std::make_unique<http::Client>(ways_[way_], options_);
    auto response = send(*client_);
    if (response) return *std::move(response);
    const bool elsewhere = response.error().kind == ClientErrorKind::kNotThere && way_ + 1 < ways_.size();
    client_.reset();
    if (!elsewhere) {
      way_ = 0;
      return refusal_of(response.error());
    }
  }
}

Result<std::string, Refusal> Daemon::call(const http::Call& call) {
  auto response = send([&](http::Client& client) { return client.call(call); });
  if (!response) return response.error();
  if (response->status < 200 || response->status > 299) return orchctl::refusal_of(*response);
  return std::move(response->body);
}

Result<std::string, Refusal> Daemon::get(const std::string& target) {
  http::Call get;
  get.target = target;
  return call(get);
}

Result<std::string, Refusal> Daemon::post(const std::string& target, const std::string& body,
                                          const std::string& idempotency_key) {
  http::Call post;
  post.method = "POST";
  post.target = target;
  post.body = body;
  if (!idempotency_key.empty()) post.headers.emplace_back("Idempotency-Key", idempotency_key);
  return call(post);
}

Result<std::string, Refusal> Daemon::put(const std::string& target, const std::string& body) {
  http::Call put;
  put.method = "PUT";
  put.target = target;
  put.body = body;
  return call(put);
}

Result<std::monostate, Refusal> Daemon::events(const std::string& target, const std::string& last_id,
                                               const std::function<bool(const http::Event&)>& each) {
  const auto response = send([&](http::Client& client) { return client.events(target, last_id, each); });
  if (!response) return response.error();
  if (response->status != 200) return orchctl::refusal_of(*response);
  return std::monostate{};
}

Result<ordered_json, Refusal> json_of(Result<std::string, Refusal> body) {
  if (!body) return body.error();
  auto json = ordered_json::parse(*body, nullptr, false);
  if (json.is_discarded()) return Refusal{kFailed, "what the daemon answered is not JSON", "", false, false};
  return json;
}

}  // namespace orch::orchctl
