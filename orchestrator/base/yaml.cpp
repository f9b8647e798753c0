#include "base/yaml.h"

#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <unordered_set>

#include "base/text.h"
#include "base/units.h"

namespace orch {
namespace {

/// A limit or a rule was broken; reading stops here, because what follows could cost without end.
struct Stop {
  int line;
  int column;
  std::string what;
};

/// What it costs to copy a tree.
struct Size {
  std::size_t nodes = 1;
  std::size_t bytes = 0;  ///< of text
  int depth = 1;
};

Size size_of(const Yaml& node) {
  Size size{1, node.text.size(), 1};
  const auto add = [&](const Yaml& child) {
    const Size inner = size_of(child);
    size.nodes += inner.nodes;
    size.bytes += inner.bytes;
    size.depth = std::max(size.depth, inner.depth + 1);
  };
  for (const Yaml& item : node.items) add(item);
  for (const Yaml::Entry& entry : node.entries) {
    ++size.nodes;
    size.bytes += entry.key.size();
    add(entry.value);
  }
  return size;
}

/// Builds the tree from yaml-cpp's events.
class Builder : public YAML::EventHandler {
 public:
  Builder(std::string file, Diagnostics& diagnostics, const YamlLimits& limits)
      : file_(std::move(file)), diagnostics_(diagnostics), limits_(limits) {}

  Yaml take() { return std::move(root_); }

  /// Where the document begins.
  Place place() const { return place_; }

  void OnDocumentStart(const YAML::Mark& mark) override { place_ = {file_, line(mark), column(mark)}; }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(start(mark, Yaml::Kind::kNull), anchor); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) stop(mark, "an alias to a value that is not finished yet, which would hold itself");
    // A chain of aliases doubles at each step: what it costs is known before it is copied.
    const Size& size = found->second.size;
    if (static_cast<int>(open_.size()) + size.depth > limits_.most_depth) too_deep(mark);
    count(mark, size.nodes, size.bytes);
    Yaml copy = found->second.tree;
    copy.line = line(mark);
    copy.column = column(mark);
    add(std::move(copy), 0);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Yaml node = start(mark, Yaml::Kind::kScalar, value.size());
    node.text = value;
    if (value.find('\0') != std::string::npos)
      diagnostics_.error({file_, node.line, node.column}, "a text must not hold a NUL character");
    node.plain = tag != "!";  // yaml-cpp's sign for a quoted or block scalar
    if (node.plain && (value.empty() || value == "null" || value == "Null" || value == "NULL" || value == "~"))
      node.kind = Yaml::Kind::kNull;
    if (tag != "!" && tag != "?" && !tag.empty()) refuse_tag(mark, tag);
    add(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Yaml::Kind::kList);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Yaml::Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    Yaml node;
    YAML::anchor_t anchor;
    bool expects_value = false;
    Yaml::Entry entry;
    std::unordered_set<std::string> keys;
  };

  static int line(const YAML::Mark& mark) { return mark.line + 1; }
  static int column(const YAML::Mark& mark) { return mark.column + 1; }

  [[noreturn]] static void stop(const YAML::Mark& mark, std::string what) {
    throw Stop{line(mark), column(mark), std::move(what)};
  }

  [[noreturn]] void too_deep(const YAML::Mark& mark) const {
    stop(mark, "nested more than " + std::to_string(limits_.most_depth) + " deep");
  }

  void count(const YAML::Mark& mark, std::size_t nodes, std::size_t bytes) {
    nodes_ += nodes;
    bytes_ += bytes;
    // The text of a file is there once already: only what aliases repeat can be more than the file.
    if (bytes_ > 2 * limits_.most_bytes)
      stop(mark, "more than " + format_bytes(2 * static_cast<double>(limits_.most_bytes)) +
                     " of text once its aliases are expanded; refused, as it may be an alias bomb");
    if (nodes_ > limits_.most_nodes)
      stop(mark, "more than " + grouped(static_cast<long long>(limits_.most_nodes)) +
                     " values once its aliases are expanded; refused, as it may be an alias bomb");
  }

  void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    diagnostics_.error({file_, line(mark), column(mark)},
                       tag == "!function" ? "'!function' calls a function of Python, and none is called here"
                                          : "the tag " + quote(tag) + " means nothing here; remove it");
  }

  Yaml start(const YAML::Mark& mark, Yaml::Kind kind, std::size_t bytes = 0) {
    count(mark, 1, bytes);
    Yaml node;
    node.kind = kind;
    node.line = line(mark);
    node.column = column(mark);
    return node;
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Yaml::Kind kind) {
    if (static_cast<int>(open_.size()) >= limits_.most_depth) too_deep(mark);
    if (tag != "?" && tag != "!" && !tag.empty()) refuse_tag(mark, tag);
    open_.push_back(Open{start(mark, kind), anchor, false, {}, {}});
  }

  void close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    add(std::move(done.node), done.anchor);
  }

  void add(Yaml node, YAML::anchor_t anchor) {
    if (anchor) {
      const Size size = size_of(node);
      kept_nodes_ += size.nodes;
      kept_bytes_ += size.bytes;
      if (kept_nodes_ > limits_.most_nodes || kept_bytes_ > 2 * limits_.most_bytes)
        throw Stop{node.line, node.column, "anchors hold too much; refused, as it may be an alias bomb"};
      anchors_.insert_or_assign(anchor, Anchored{node, size});
    }
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = open_.back();
    if (parent.node.is_list()) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.expects_value) {
      if (node.is_list() || node.is_map())
        throw Stop{node.line, node.column, "a key must be a text, found " + describe(node)};
      if (node.plain && node.text == "<<")
        throw Stop{node.line, node.column, "merge keys ('<<') are not supported; write the keys out"};
      if (!parent.keys.insert(node.text).second)
        diagnostics_.error({file_, node.line, node.column}, "the key " + quote(node.text) + " is given twice");
      parent.entry = Yaml::Entry{node.text, node.line, node.column, {}};
      parent.expects_value = true;
    } else {
      // yaml-cpp puts an empty value where the next thing begins, which may be lines below.
      if (node.is_null() && node.line > parent.entry.line) {
        node.line = parent.entry.line;
        node.column = parent.entry.column;
      }
      parent.entry.value = std::move(node);
      parent.node.entries.push_back(std::move(parent.entry));
      parent.expects_value = false;
    }
  }

  struct Anchored {
    Yaml tree;
    Size size;
  };

  std::string file_;
  Diagnostics& diagnostics_;
  YamlLimits limits_;
  Yaml root_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, Anchored> anchors_;
  std::size_t nodes_ = 0;
  std::size_t bytes_ = 0;
  std::size_t kept_nodes_ = 0;
  std::size_t kept_bytes_ = 0;
  Place place_;
};

std::string without_underscores(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '9'; };
    if (text[i] == '_' && i > 0 && digit(i - 1) && digit(i + 1)) continue;
    out += text[i];
  }
  return out;
}

/// The place of a byte of `text`; columns count bytes, as yaml-cpp's do.
Place place_at(const std::string& file, std::string_view text, std::size_t at) {
  Place place{file, 1, 1};
  for (const char c : text.substr(0, at)) {
    if (c == '\n') {
      ++place.line;
      place.column = 1;
    } else {
      ++place.column;
    }
  }
  return place;
}

/// yaml-cpp scans a run of open brackets to its end before it tells of the first: what costs seconds is refused here,
/// anything less the builder refuses with its place. Brackets inside texts count too, so the bound is far above any
/// real file.
std::optional<int> too_deep_line(std::string_view text) {
  constexpr int kMostOpen = 100'000;
  int line = 1, depth = 0, dashes = 0;
  bool only_dashes = true;
  for (char c : text) {
    if (c == '\n') {
      ++line;
      dashes = 0;
      only_dashes = true;
      continue;
    }
    if (c == '[' || c == '{') ++depth;
    if ((c == ']' || c == '}') && depth > 0) --depth;
    if (only_dashes && (c == '-' || c == '?' || c == ':')) ++dashes;
    if (c != '-' && c != ' ' && c != '?' && c != ':') only_dashes = false;
    if (depth > kMostOpen || dashes > kMostOpen) return line;
  }
  return std::nullopt;
}

}  // namespace

const Yaml* Yaml::find(std::string_view key) const {
  for (const Entry& entry : entries)
    if (entry.key == key) return &entry.value;
  return nullptr;
}

std::optional<double> Yaml::number() const {
  if (!is_scalar() || !plain) return std::nullopt;
  const std::string digits = without_underscores(text);
  std::string_view rest = digits;
  if (rest.starts_with('+') && !rest.starts_with("+-")) rest.remove_prefix(1);
  if (rest.empty() || (rest.front() != '-' && rest.front() != '.' && (rest.front() < '0' || rest.front() > '9')))
    return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (error != std::errc() || end != rest.data() + rest.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::optional<long long> Yaml::integer() const {
  if (!is_scalar() || !plain) return std::nullopt;
  const std::string digits = without_underscores(text);
  std::string_view rest = digits;
  if (rest.starts_with('+') && !rest.starts_with("+-")) rest.remove_prefix(1);
  long long value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (error != std::errc() || end != rest.data() + rest.size()) return std::nullopt;
  return value;
}

std::optional<bool> Yaml::truth() const {
  if (!is_scalar() || !plain) return std::nullopt;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  return std::nullopt;
}

std::string describe(const Yaml& node) {
  switch (node.kind) {
    case Yaml::Kind::kNull:
      return "nothing";
    case Yaml::Kind::kList:
      return "a list";
    case Yaml::Kind::kMap:
      return "a map";
    case Yaml::Kind::kScalar:
      break;
  }
  if (node.number()) return "the number " + shown(node.text);
  if (node.truth()) return node.text;
  return "the text " + quote(node.text);
}

std::optional<Yaml> parse_yaml(std::string_view text, const std::string& file, Diagnostics& diagnostics,
                               const YamlLimits& limits) {
  if (text.size() > limits.most_bytes) {
    diagnostics.error({file}, "is " + format_bytes(static_cast<double>(text.size())) + "; at most " +
                                  format_bytes(static_cast<double>(limits.most_bytes)) + " are read");
    return std::nullopt;
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (const std::size_t sound = utf8_prefix(text); sound < text.size()) {
    diagnostics.error(place_at(file, text, sound), "not UTF-8 text");
    return std::nullopt;
  }
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    diagnostics.error(place_at(file, text, nul), "holds a NUL byte, so it is not YAML");
    return std::nullopt;
  }
  if (const auto line = too_deep_line(text)) {
    diagnostics.error({file, *line, 1}, "nested more than " + std::to_string(limits.most_depth) + " deep");
    return std::nullopt;
  }
  const std::size_t before = diagnostics.error_count();
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    Builder builder(file, diagnostics, limits);
    if (!parser.HandleNextDocument(builder)) {
      diagnostics.error({file}, "is empty");
      return std::nullopt;
    }
    Yaml root = builder.take();
    Diagnostics ignored;
    Builder second(file, ignored, limits);
    if (parser.HandleNextDocument(second)) {
      diagnostics.error(second.place(), "a second YAML document begins here; only one is expected");
      return std::nullopt;
    }
    if (diagnostics.error_count() != before) return std::nullopt;
    return root;
  } catch (const Stop& stop) {
    diagnostics.error({file, stop.line, stop.column}, stop.what);
  } catch (const YAML::Exception& error) {
    const bool placed = !error.mark.is_null();
    diagnostics.error({file, placed ? error.mark.line + 1 : 0, placed ? error.mark.column + 1 : 0},
                      "not YAML: " + shown(error.msg, 300));
  }
  return std::nullopt;
}

std::optional<std::string> read_file(const std::filesystem::path& path, std::size_t most_bytes,
                                     Diagnostics& diagnostics) {
  namespace fs = std::filesystem;
  const Place place{path.string()};
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    diagnostics.error(place, error && error != std::errc::no_such_file_or_directory
                                 ? "cannot be read: " + error.message()
                                 : "no such file");
    return std::nullopt;
  }
  if (fs::is_directory(status)) {
    diagnostics.error(place, "is a folder; a file was expected");
    return std::nullopt;
  }
  // A pipe is fine (process substitution); a device such as /dev/zero has no end.
  if (!fs::is_regular_file(status) && !fs::is_fifo(status)) {
    diagnostics.error(place, "is not a regular file");
    return std::nullopt;
  }
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    diagnostics.error(place, std::string("cannot be opened: ") + std::strerror(errno));
    return std::nullopt;
  }
  std::string text;
  char buffer[1 << 16];
  while (in.read(buffer, sizeof buffer) || in.gcount() > 0) {
    text.append(buffer, static_cast<std::size_t>(in.gcount()));
    if (text.size() > most_bytes) {
      diagnostics.error(place,
                        "is larger than " + format_bytes(static_cast<double>(most_bytes)) + ", the most that is read");
      return std::nullopt;
    }
  }
  if (in.bad()) {
    diagnostics.error(place, "could not be read to its end");
    return std::nullopt;
  }
  return text;
}

std::optional<Yaml> load_yaml(const std::filesystem::path& path, Diagnostics& diagnostics, const YamlLimits& limits) {
  const auto text = read_file(path, limits.most_bytes, diagnostics);
  if (!text) return std::nullopt;
  return parse_yaml(*text, path.string(), diagnostics, limits);
}

}  // namespace orch
