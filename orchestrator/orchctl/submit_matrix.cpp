// orchctl submit-matrix: hands a matrix to the daemon, and waits for its end if that is asked for; a dry run plans it
// for the daemon's cluster and by its policy, and submits nothing.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <ostream>
#include <random>
#include <thread>

#include "base/text.h"
#include "base/units.h"
#include "base/yaml.h"
#include "http/message.h"
#include "orchctl/waiting.h"
#include "report/json_values.h"
#include "report/plan_report.h"
#include "report/results_report.h"
#include "report/status_report.h"

namespace orch::orchctl {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

constexpr std::size_t kMostBytes = 8u << 20;  ///< of a file that is submitted
constexpr Daemon::Time kPlanning(600);        ///< a large matrix takes a while to be planned
constexpr Clock::duration kTryAgain = 30s;

/// 128 bits of chance: the same call twice is one sweep.
std::string draw_key() {
  std::random_device random;
  std::string key;
  for (int i = 0; i < 32; ++i) key += "0123456789abcdef"[random() % 16];
  return key;
}

/// The site's own files, as the other commands read them: $ORCH_CATALOG and --catalog, folders by their *.yaml.
std::vector<fs::path> catalog_files(const Session& session) {
  std::vector<std::string> sources;
  const char* everywhere = std::getenv("ORCH_CATALOG");
  for (const std::string_view path : split(everywhere ? everywhere : "", ':'))
    if (!path.empty()) sources.emplace_back(path);
  sources.insert(sources.end(), session.catalogs.begin(), session.catalogs.end());
  std::vector<fs::path> files;
  std::error_code ignored;
  for (const std::string& source : sources) {
    if (!fs::is_directory(source, ignored)) {
      files.emplace_back(source);
      continue;
    }
    std::vector<fs::path> within;
    for (const auto& entry : fs::directory_iterator(source, ignored))
      if (entry.path().extension() == ".yaml" && !entry.path().filename().string().starts_with('.'))
        within.push_back(entry.path());
    std::ranges::sort(within);
    files.insert(files.end(), within.begin(), within.end());
  }
  return files;
}

/// The body of the call; nothing when a file could not be read.
std::optional<ordered_json> body_of(const Session& session, const SubmitArguments& arguments,
                                    Diagnostics& diagnostics) {
  ordered_json body;
  const auto matrix = read_file(arguments.files.matrix, kMostBytes, diagnostics);
  if (matrix) body["matrix"] = *matrix;
  body["file"] = arguments.files.matrix;
  if (!arguments.name.empty()) body["name"] = arguments.name;
  body["fresh"] = arguments.fresh;
  body["catalogs"] = ordered_json::array();
  for (const fs::path& file : catalog_files(session))
    if (const auto text = read_file(file, kMostBytes, diagnostics))
      body["catalogs"].push_back({{"file", file.string()}, {"text", *text}});
  if (!diagnostics.ok()) return std::nullopt;
  return body;
}

/// Sends it, and again under the same key if the answer was lost.
Result<ordered_json, Refusal> submit(const Session& session, const ordered_json& body) {
  const std::string text = body.dump(-1, ' ', false, ordered_json::error_handler_t::replace), key = draw_key();
  std::optional<Clock::time_point> until;
  while (true) {
    Refusal why;
    auto daemon = Daemon::find(session, kPlanning);
    if (daemon) {
      auto answer = daemon->post("/v1/sweeps", text, key);
      if (answer) return json_of(std::move(answer));
      why = answer.error();
    } else {
      why = daemon.error();
    }
    const bool first = !until;
    if (first) until = Clock::now() + kTryAgain;
    if (!why.may_retry || (first && why.nobody) || Clock::now() > *until) return why;
    std::this_thread::sleep_for(1s);
  }
}

void say_submitted(Session& session, const ordered_json& answer) {
  std::string text =
      answer.value("sweep", "") + " " + answer.value("name", "") + ": " + counted(answer.value("cells", 0LL), "cell");
  if (const long long reused = answer.value("reused", 0LL); reused > 0)
    text += ", " + grouped(reused) + " done already";
  if (const long long rejected = answer.value("rejected", 0LL); rejected > 0)
    text += ", " + grouped(rejected) + " rejected (orchctl submit-matrix --dry-run says why)";
  session.out << shown(text, 2000) << "\n";
  for (const ordered_json& note : answer.value("notes", ordered_json::array()))
    if (note.is_string()) session.err << shown(note.get<std::string>(), 2000) << "\n";
}

int wait_and_report(Session& session, ordered_json submitted) {
  const std::string sweep = submitted.value("sweep", "");
  const auto ended = wait_for(session, sweep);
  if (!ended) return refuse(session, ended.error());
  const int code = exit_of(*ended).value_or(kFailed);
  if (session.json) {
    submitted["state"] = ended->value("state", "");
    submitted["ended"] = *ended;
    print_json(session, submitted);
    return code;
  }
  auto daemon = Daemon::find(session);
  if (!daemon) return refuse(session, daemon.error());
  const auto rows = json_of(daemon->get("/v1/sweeps/" + http::percent_encode(sweep) + "/results"));
  if (!rows) return refuse(session, rows.error());
  session.out << "\n";
  report::print_results(session.out, session.style, *rows, report::Form::kText);
  const ordered_json& row = *ended;
  session.out << "\n"
              << shown(sweep) << " is " << shown(report::text_in(row, "state")) << ": " << report::progress_of(row)
              << ", " << report::format_hours(report::number_in(row, "gpu_hours")) << " GPU-hours.\n";
  if (code == kSweepFailed)
    session.out << "orchctl explain " << shown(sweep) << " says why, orchctl retry " << shown(sweep)
                << " tries again what failed.\n";
  return code;
}

/// A text that the daemon sent, under a path that can be read as a file for as long as this lives.
class TextAsFile {
 public:
  explicit TextAsFile(const std::string& text) : file_(memfd_create("orch", MFD_CLOEXEC)) {
    std::size_t written = 0;
    while (file_ >= 0 && written < text.size()) {
      const ssize_t more = ::write(file_, text.data() + written, text.size() - written);
      if (more <= 0) break;
      written += static_cast<std::size_t>(more);
    }
  }
  TextAsFile(const TextAsFile&) = delete;
  TextAsFile& operator=(const TextAsFile&) = delete;
  ~TextAsFile() {
    if (file_ >= 0) ::close(file_);
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int file_;
};

int dry_run(Session& session, const SubmitArguments& arguments) {
  PlanArguments planned;
  planned.weights = true;
  planned.files = arguments.files;
  std::error_code ignored;
  const fs::path cluster = state_directory(session) / "cluster.yaml";
  if (planned.files.cluster.empty() && !std::getenv("ORCH_CLUSTER") && fs::exists(cluster, ignored))
    planned.files.cluster = cluster.string();
  std::optional<TextAsFile> policy;
  if (planned.files.policy.empty()) {
    auto daemon = Daemon::find(session);
    const auto answer = daemon ? json_of(daemon->get("/v1/policy")) : daemon.error();
    if (answer && !answer->value("text", "").empty()) {
      policy.emplace(answer->value("text", ""));
      planned.files.policy = policy->path();
    }
  }
  return plan(session, planned);
}

}  // namespace

int submit_matrix(Session& session, const SubmitArguments& arguments) {
  if (arguments.dry_run) {
    if (arguments.wait) return bad_input(session, "--dry-run submits nothing, so there is nothing to --wait for");
    return dry_run(session, arguments);
  }
  if (!arguments.files.cluster.empty() || !arguments.files.policy.empty())
    return bad_input(
        session, "--cluster and --policy go with --dry-run: the daemon has its own (orchctl policy set changes it)");
  Diagnostics diagnostics;
  const auto body = body_of(session, arguments, diagnostics);
  if (!body) return bad_input(session, diagnostics);
  const auto submitted = submit(session, *body);
  if (!submitted) return refuse(session, submitted.error());
  if (!session.json) say_submitted(session, *submitted);
  if (arguments.wait) return wait_and_report(session, *submitted);
  if (session.json)
    print_json(session, *submitted);
  else
    session.out << "orchctl status " << shown(submitted->value("sweep", "")) << " --watch shows how it goes.\n";
  return kWell;
}

}  // namespace orch::orchctl
