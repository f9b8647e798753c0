#include "notify/tell.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/text.h"
#include "cluster/process.h"

namespace orch::notify {
namespace {

using std::chrono::seconds;

constexpr seconds kPatience{60};
constexpr std::size_t kMostOutput = 1 << 20;
/// curl's codes for a name or a host that could not be reached: nobody got anything, so it may be tried again.
constexpr int kNoName = 6, kNoHost = 7;
constexpr int kTries = 3;
constexpr seconds kBetweenTries{2};
constexpr std::size_t kLongestSubject = 150;

Result<std::monostate> run(const std::vector<std::string>& argv, const std::string& input,
                           const std::vector<std::string>& variables = {}) {
  const auto ran = cluster::run_program(argv, kPatience, kMostOutput, variables, input);
  if (!ran) return Error{ran.error().what};
  return std::monostate{};
}

Result<std::monostate> tell_by(const Command& command, const Message& message) {
  // Nothing that could be taken for something else: the texts are in variables and in JSON.
  std::vector<std::string> variables = {"ORCH_NOTICE_KIND=" + message.kind, "ORCH_NOTICE_TEXT=" + message.text,
                                        "ORCH_NOTICE_SWEEP=" + message.sweep};
  for (std::string& variable : variables) std::ranges::replace(variable, '\0', ' ');
  return run(command.argv, to_json(message) + "\n", variables);
}

/// In a header of a mail only ASCII may stand, and no line may end.
std::string subject_of(const Message& message) {
  const bool plain = std::ranges::all_of(message.text, [](char c) { return c >= ' ' && c < 0x7f; });
  return "[orch] " + message.kind + (plain ? ": " + message.text.substr(0, kLongestSubject) : "");
}

Result<std::monostate> tell_by(const Mail& mail, const Message& message) {
  std::string letter = "To: " + mail.address + "\nSubject: " + subject_of(message) +
                       "\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
                       "Content-Transfer-Encoding: 8bit\nAuto-Submitted: auto-generated\n\n";
  letter += shown(message.text, 4000) + "\n\n";
  if (!message.sweep.empty()) letter += "Sweep: " + message.sweep + "\n";
  letter += "Daemon on " + shown(message.host) + ", " + message.at + "\n";
  for (const char* program : {"sendmail", "/usr/sbin/sendmail", "/usr/lib/sendmail"}) {
    const auto ran = cluster::run_program({program, "-i", "--", mail.address}, kPatience, kMostOutput, {}, letter);
    if (ran) return std::monostate{};
    if (ran.error().kind != cluster::RunFailure::kNotFound) return Error{ran.error().what};
  }
  return Error{"this machine has no sendmail, through which mail is sent"};
}

/// A value in curl's configuration.
std::string quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

Result<std::monostate> tell_by(const Webhook& webhook, const Message& message) {
  // The address is a secret: other users of the machine see command lines, and nobody sees the input.
  const std::string configuration = "url = " + quoted(webhook.url) +
                                    "\nproto = \"=http,https\"\n"
                                    "header = \"Content-Type: application/json\"\nheader = \"Expect:\"\n"
                                    "data-raw = " +
                                    quoted(to_json(message)) + "\n";
  const std::vector<std::string> argv = {"curl",       "--disable", "--globoff", "--silent",  "--show-error", "--fail",
                                         "--max-time", "30",        "--output",  "/dev/null", "--config",     "-"};
  for (int attempt = 1;; ++attempt) {
    const auto ran = cluster::run_program(argv, kPatience, kMostOutput, {}, configuration);
    if (ran) return std::monostate{};
    const cluster::RunError& error = ran.error();
    if (error.kind == cluster::RunFailure::kNotFound)
      return Error{"this machine has no curl, through which webhooks are called"};
    const bool unreached =
        error.kind == cluster::RunFailure::kNonZero && (error.code == kNoName || error.code == kNoHost);
    if (!unreached || attempt == kTries) return Error{error.what};
    std::this_thread::sleep_for(kBetweenTries);
  }
}

}  // namespace

std::string to_json(const Message& message) {
  nlohmann::ordered_json json = {
      {"kind", message.kind}, {"text", message.text}, {"sweep", nullptr}, {"host", message.host}, {"at", message.at}};
  if (!message.sweep.empty()) json["sweep"] = message.sweep;
  // Escaped beyond ASCII: whatever reads it need not know UTF-8.
  return json.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
}

Result<std::monostate> tell(const Target& target, const Message& message) {
  return std::visit([&](const auto& way) { return tell_by(way, message); }, target.way);
}

}  // namespace orch::notify
