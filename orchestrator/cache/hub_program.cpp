#include "cache/hub_program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/text.h"

extern char** environ;

namespace orch::cache {
namespace {

constexpr std::size_t kTail = 64 * 1024;
constexpr std::string_view kBlot = "(token)";
/// Shorter ones are no tokens, and would blot out ordinary text.
constexpr std::size_t kShortestSecret = 8;

std::string on_path(const std::string& name) {
  const char* path = std::getenv("PATH");
  for (std::string_view folder : split(path ? path : "/usr/local/bin:/usr/bin:/bin", ':')) {
    const std::string candidate = (folder.empty() ? "." : std::string(folder)) + "/" + name;
    std::error_code ignored;
    if (access(candidate.c_str(), X_OK) == 0 && std::filesystem::is_regular_file(candidate, ignored)) return candidate;
  }
  return "";
}

std::vector<std::string> environment_with(const std::vector<std::string>& variables) {
  std::vector<std::string> all = variables;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view variable(*entry);
    const std::string_view name = variable.substr(0, variable.find('=') + 1);
    if (std::ranges::none_of(variables, [&](const std::string& own) { return own.starts_with(name); }))
      all.emplace_back(variable);
  }
  return all;
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// In the child, between fork and exec: only what is safe after a fork.
[[noreturn]] void become(const char* path, char* const* argv, char* const* environment, int output, pid_t parent) {
  const int nothing = open("/dev/null", O_RDONLY);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  signal(SIGPIPE, SIG_DFL);
  if (getppid() == parent && nothing >= 0 && dup2(nothing, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
      dup2(output, STDERR_FILENO) >= 0)
    execve(path, argv, environment);
  _exit(127);
}

}  // namespace

Blotter::Blotter(std::vector<std::string> secrets) : secrets_(std::move(secrets)) {
  std::erase_if(secrets_, [](const std::string& secret) { return secret.size() < kShortestSecret; });
}

std::string Blotter::pass(std::string_view piece) {
  held_ += piece;
  // A beginning of a secret at the end waits for what comes next.
  std::size_t keep = 0;
  for (const std::string& secret : secrets_)
    for (std::size_t size = std::min(secret.size() - 1, held_.size()); size > keep; --size)
      if (std::string_view(held_).ends_with(std::string_view(secret).substr(0, size))) keep = size;
  return take(keep);
}

std::string Blotter::end() { return take(0); }

std::string Blotter::take(std::size_t keep) {
  for (const std::string& secret : secrets_)
    for (std::size_t at = held_.find(secret); at != std::string::npos; at = held_.find(secret, at + kBlot.size()))
      held_.replace(at, secret.size(), kBlot);
  keep = std::min(keep, held_.size());
  std::string free = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return free;
}

std::optional<HubProgram> find_hub_program() {
  for (const std::string name : {"hf", "huggingface-cli"})
    if (std::string path = on_path(name); !path.empty()) return HubProgram{path, {name, "download"}};
  return std::nullopt;
}

std::vector<std::string> tokens_in_environment() {
  std::vector<std::string> tokens;
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})
    if (const char* token = std::getenv(name); token && *token) tokens.emplace_back(trim(token));
  return tokens;
}

Result<HubRun> run_hub(const HubProgram& program, const std::vector<std::string>& arguments,
                       const std::vector<std::string>& variables, const Show& show) {
  std::vector<std::string> words = program.words;
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment = environment_with(variables);
  const std::vector<char*> argv = pointers_to(words);
  const std::vector<char*> envp = pointers_to(environment);
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return Error{std::string("no pipe is to be had: ") + std::strerror(errno)};
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) become(program.path.c_str(), argv.data(), envp.data(), ends[1], parent);
  close(ends[1]);
  if (child < 0) {
    close(ends[0]);
    return Error{std::string("no process is to be had: ") + std::strerror(errno)};
  }
  HubRun run;
  Blotter blotter(tokens_in_environment());
  const auto pass_on = [&](const std::string& text) {
    if (show && !text.empty()) show(text);
    run.tail += text;
    if (run.tail.size() > 2 * kTail) run.tail.erase(0, run.tail.size() - kTail);
  };
  std::array<char, 16 * 1024> piece{};
  for (;;) {
    const ssize_t got = read(ends[0], piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    pass_on(blotter.pass({piece.data(), static_cast<std::size_t>(got)}));
  }
  pass_on(blotter.end());
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  run.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return run;
}

std::string_view name_of(HubFailure failure) {
  constexpr std::array<std::string_view, 8> kNames = {"gated",   "not_found", "no_revision", "offline",
                                                      "network", "busy",      "disk",        "other"};
  return kNames[static_cast<std::size_t>(failure)];
}

HubFailure why_it_failed(std::string_view tail) {
  const std::string said = lower(tail);
  const auto any = [&](std::initializer_list<std::string_view> words) {
    return std::ranges::any_of(words, [&](std::string_view word) { return said.find(word) != std::string::npos; });
  };
  // The words for a repository that is not found speak of "private or gated" too, and those for a broken connection may
  // quote an address with anything in it: the most certain first.
  if (any({"gatedrepoerror", "cannot access gated repo", "requires approval", "not in the authorized list",
           "awaiting a review", "must have access to it and be authenticated", "is restricted"}))
    return HubFailure::kGated;
  if (any({"no space left", "not enough free disk space", "disk quota exceeded", "errno 28", "errno 122",
           "read-only file system", "permission denied"}))
    return HubFailure::kDisk;
  if (any({"revision not found", "revisionnotfounderror"})) return HubFailure::kNoRevision;
  if (any({"repository not found", "repositorynotfounderror", "' not found.\n"})) return HubFailure::kNotFound;
  if (any({"offline mode is enabled", "offlinemodeisenabled", "outgoing traffic has been disabled"}))
    return HubFailure::kOffline;
  if (any({"too many requests", "429 client error"})) return HubFailure::kBusy;
  if (any({"401 client error", "403 client error", "access denied"})) return HubFailure::kGated;
  if (any({"name resolution",
           "name or service not known",
           "max retries exceeded",
           "connectionerror",
           "connecterror",
           "connection refused",
           "connection reset",
           "network is unreachable",
           "no route to host",
           "timed out",
           "timeout",
           "internet connection",
           "proxyerror",
           "ssl",
           "local entry not found",
           "502 server error",
           "503 server error",
           "504 server error",
           "incompleteread",
           "connection broken",
           "errno 111",
           "errno -2",
           "errno -3",
           "errno 101"}))
    return HubFailure::kNetwork;
  return HubFailure::kOther;
}

}  // namespace orch::cache
