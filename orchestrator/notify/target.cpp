#include "notify/target.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/fields.h"
#include "base/text.h"

namespace orch::notify {
namespace {

constexpr std::size_t kMostTargets = 20;
constexpr std::size_t kMostWords = 100;
constexpr std::size_t kLongestAddress = 250, kLongestUrl = 2000;

bool is_plain(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

/// Loosely: whoever sends it says whether it can. What would be read as an option or as two addresses is no address.
bool is_address(std::string_view text) {
  return is_plain(text) && text.size() <= kLongestAddress && !text.empty() && text.front() != '-' &&
         text.find_first_of(",;<>\"'\\|`$()") == std::string_view::npos;
}

/// `chat.example.org:8443` of a URL.
std::string_view host_of(std::string_view url) {
  url.remove_prefix(url.find("://") + 3);
  url = url.substr(0, url.find_first_of("/?#"));
  if (const auto at = url.rfind('@'); at != std::string_view::npos) url.remove_prefix(at + 1);
  return url;
}

bool is_url(std::string_view text) {
  if (!(text.starts_with("https://") || text.starts_with("http://"))) return false;
  return is_plain(text) && text.size() <= kLongestUrl && text.find_first_of("\"\\") == std::string_view::npos &&
         !host_of(text).empty();
}

class Reader {
 public:
  Reader(const std::string& file, Diagnostics& diagnostics) : file_(file), diagnostics_(diagnostics) {}

  std::optional<std::vector<Target>> read(const Yaml& root) {
    const std::size_t before = diagnostics_.error_count();
    Fields fields(root, file_, "a file of notifications", diagnostics_);
    std::vector<Target> targets;
    if (const Yaml* list = fields.require("notify")) {
      if (!list->is_list())
        diagnostics_.error(place_of(*list, file_), "'notify' must be a list of whom to tell");
      else if (list->items.size() > kMostTargets)
        diagnostics_.error(place_of(*list, file_), "'notify' tells at most " + std::to_string(kMostTargets));
      else
        for (const Yaml& item : list->items)
          if (auto target = read_target(item)) targets.push_back(std::move(*target));
    }
    fields.finish();
    if (diagnostics_.error_count() != before) return std::nullopt;
    return targets;
  }

 private:
  std::optional<Target> read_target(const Yaml& item) {
    const std::size_t before = diagnostics_.error_count();
    Fields fields(item, file_, "an entry of 'notify'", diagnostics_);
    Target target;
    read_kinds(fields, target);
    int ways = 0;
    if (const auto words = fields.texts("command")) {
      ++ways;
      if (words->empty() || words->front().empty() || words->size() > kMostWords)
        fields.error("command", "'command' must be a program and its arguments, each word for itself");
      target.way = Command{*words};
    }
    if (const auto address = fields.text("mail")) {
      ++ways;
      if (!is_address(*address)) fields.error("mail", "'mail' must be one address, such as mara@example.org");
      target.way = Mail{*address};
    }
    if (const auto url = fields.text("webhook")) {
      ++ways;
      if (!is_url(*url)) fields.error("webhook", "'webhook' must be an address that begins with https:// or http://");
      target.way = Webhook{*url};
    }
    if (fields.is_map() && ways != 1 && diagnostics_.error_count() == before)
      diagnostics_.error(fields.place(), "an entry of 'notify' has one of 'command', 'mail' and 'webhook'");
    fields.finish();
    if (diagnostics_.error_count() != before) return std::nullopt;
    return target;
  }

  void read_kinds(Fields& fields, Target& target) {
    const auto names = fields.texts("on");
    if (!names) {
      target.on.assign(control::kNoticeKinds.begin(), control::kNoticeKinds.end());
      return;
    }
    std::vector<std::string> known;
    for (const auto kind : control::kNoticeKinds) known.emplace_back(control::name_of(kind));
    for (const std::string& name : *names) {
      const auto at = std::ranges::find(known, name);
      if (at == known.end())
        fields.error("on",
                     "nothing called " + quote(name) + " is told; there are " + join(known, ", ") + hint(name, known));
      else
        target.on.push_back(control::kNoticeKinds[static_cast<std::size_t>(at - known.begin())]);
    }
    if (names->empty()) fields.error("on", "'on' is empty, so nothing would be told; leave it out for everything");
  }

  const std::string& file_;
  Diagnostics& diagnostics_;
};

}  // namespace

bool Target::wants(control::NoticeKind kind) const { return std::ranges::find(on, kind) != on.end(); }

std::string Target::name() const {
  if (const auto* command = std::get_if<Command>(&way)) return "the command " + shown(command->argv.front());
  if (const auto* mail = std::get_if<Mail>(&way)) return "mail to " + shown(mail->address);
  return "the webhook at " + shown(host_of(std::get<Webhook>(way).url));
}

std::optional<std::vector<Target>> read_targets(const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
  return Reader(file, diagnostics).read(root);
}

Result<std::vector<Target>> load_targets(const std::filesystem::path& state, Diagnostics* diagnostics) {
  const std::filesystem::path file = state / "notify.yaml";
  struct stat about {};
  if (::stat(file.c_str(), &about) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::vector<Target>{};
    return Error{file.string() + " cannot be looked at: " + std::strerror(errno)};
  }
  Diagnostics own;
  Diagnostics& told = diagnostics ? *diagnostics : own;
  const auto root = load_yaml(file, told);
  auto targets = root ? read_targets(*root, file.string(), told) : std::nullopt;
  if (!targets) return Error{file.string() + ", which says whom to tell, has a mistake: orchctl notify list shows it"};
  const bool secret =
      std::ranges::any_of(*targets, [](const Target& target) { return std::holds_alternative<Webhook>(target.way); });
  if (secret && (about.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    return Error{file.string() +
                 " holds the address of a webhook, which is a secret, and others may read it: chmod 600"};
  return *std::move(targets);
}

}  // namespace orch::notify
