#include "model/module_pattern.h"

#include <bitset>
#include <vector>

#include "base/text.h"

namespace orch::model {
namespace {

constexpr std::size_t kMostCharacters = 1000;
constexpr int kMostNested = 4;  ///< each may double the time

}  // namespace

/// One of: a character of a set; its children one after another; one of its children; its child any number of times.
struct ModulePattern::Node {
  enum class Kind : std::uint8_t { kCharacter, kRow, kChoice, kRepeated } kind = Kind::kRow;
  std::bitset<256> set{};
  std::vector<Node> children{};
  bool may_miss = false, may_repeat = false;
};

namespace {

using Node = ModulePattern::Node;
using Places = std::vector<bool>;  ///< of a name, its end included

struct Reader {
  std::string_view text;
  std::size_t at = 0;
  std::string problem{};

  bool more() const { return at < text.size() && problem.empty(); }
  void fail(std::string what) {
    if (problem.empty()) problem = std::move(what);
  }

  Node choice(int depth) {
    Node node;
    node.kind = Node::Kind::kChoice;
    if (depth > kMostNested) fail("has more than " + std::to_string(kMostNested) + " groups in each other");
    node.children.push_back(row(depth));
    while (more() && text[at] == '|') {
      ++at;
      node.children.push_back(row(depth));
    }
    return node;
  }

  Node row(int depth) {
    Node node;
    while (more() && text[at] != '|' && text[at] != ')') {
      Node one = atom(depth);
      if (at < text.size() && (text[at] == '*' || text[at] == '+' || text[at] == '?')) {
        Node repeated;
        repeated.kind = Node::Kind::kRepeated;
        repeated.may_miss = text[at] != '+';
        repeated.may_repeat = text[at] != '?';
        repeated.children.push_back(std::move(one));
        one = std::move(repeated);
        ++at;
        if (at < text.size() && (text[at] == '?' || text[at] == '+')) ++at;  // greedy or not, it matches the same
      }
      node.children.push_back(std::move(one));
    }
    return node;
  }

  Node atom(int depth) {
    Node node;
    const char c = text[at++];
    node.kind = Node::Kind::kCharacter;
    switch (c) {
      case '(': {
        if (text.substr(at).starts_with("?:")) at += 2;
        Node group = choice(depth + 1);
        if (at >= text.size() || text[at] != ')') fail("has a group without an end");
        ++at;
        return group;
      }
      case '[':
        node.set = set();
        return node;
      case '.':
        node.set.set();
        return node;
      case '\\':
        node.set = escaped();
        return node;
      case '*':
      case '+':
      case '?':
      case '{':
      case '^':
      case '$':
        fail("has " + quote(std::string(1, c)) + " where it is not known");
        return node;
      default:
        node.set.set(static_cast<unsigned char>(c));
        return node;
    }
  }

  std::bitset<256> escaped() {
    std::bitset<256> found;
    if (at >= text.size()) {
      fail("ends with \\");
      return found;
    }
    const char c = text[at++];
    const bool word = c == 'w';
    if (c == 'd' || word)
      for (int d = '0'; d <= '9'; ++d) found.set(static_cast<std::size_t>(d));
    if (word)
      for (int l = 'a'; l <= 'z'; ++l)
        found.set(static_cast<std::size_t>(l)).set(static_cast<std::size_t>(l - 'a' + 'A'));
    if (word) found.set('_');
    if (found.any()) return found;
    const auto byte = static_cast<unsigned char>(c);
    if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z') fail("has \\" + std::string(1, c) + ", which is not known");
    if (byte >= '0' && byte <= '9') fail("refers to a group");
    return found.set(byte);
  }

  std::bitset<256> set() {
    std::bitset<256> found;
    const bool none_of = at < text.size() && text[at] == '^';
    if (none_of) ++at;
    bool first = true;
    while (more() && (first || text[at] != ']')) {
      first = false;
      const auto from = static_cast<unsigned char>(text[at++]);
      if (from == '\\') {
        found |= escaped();
        continue;
      }
      auto to = from;
      if (at + 1 < text.size() && text[at] == '-' && text[at + 1] != ']') {
        to = static_cast<unsigned char>(text[at + 1]);
        at += 2;
      }
      for (unsigned b = from; b <= to; ++b) found.set(b);
    }
    if (at >= text.size()) fail("has a class without an end");
    ++at;
    return none_of ? ~found : found;
  }
};

/// Where a match can end that begins at any of the places.
Places through(const Node& node, std::string_view name, const Places& from) {
  Places to(from.size());
  switch (node.kind) {
    case Node::Kind::kCharacter:
      for (std::size_t i = 0; i < name.size(); ++i)
        if (from[i] && node.set[static_cast<unsigned char>(name[i])]) to[i + 1] = true;
      return to;
    case Node::Kind::kRow:
      to = from;
      for (const Node& child : node.children) to = through(child, name, to);
      return to;
    case Node::Kind::kChoice:
      for (const Node& child : node.children) {
        const Places more = through(child, name, from);
        for (std::size_t i = 0; i < to.size(); ++i)
          if (more[i]) to[i] = true;
      }
      return to;
    case Node::Kind::kRepeated: {
      Places last = from;
      if (node.may_miss) to = from;
      for (std::size_t round = 0; round < from.size(); ++round) {
        last = through(node.children.front(), name, last);
        bool is_new = false;
        for (std::size_t i = 0; i < to.size(); ++i)
          if (last[i] && !to[i]) to[i] = is_new = true;
        if (!is_new || !node.may_repeat) break;
      }
      return to;
    }
  }
  return to;
}

}  // namespace

Result<ModulePattern> ModulePattern::read(std::string_view text) {
  const std::string shown_text = shown(std::string(text.substr(0, 100)));
  if (text.size() > kMostCharacters)
    return Error{"the pattern " + shown_text + " … is longer than " + std::to_string(kMostCharacters) + " characters"};
  ModulePattern pattern;
  if (text.starts_with("^")) {
    pattern.begins_ = true;
    text.remove_prefix(1);
  }
  if (text.ends_with("$") && !text.ends_with("\\$")) text.remove_suffix(1);
  Reader reader{text};
  Node root = reader.choice(0);
  if (reader.problem.empty() && reader.at < text.size()) reader.fail("has ) without (");
  if (!reader.problem.empty()) return Error{"the pattern " + shown_text + " " + reader.problem};
  pattern.root_ = std::make_shared<Node>(std::move(root));
  return pattern;
}

bool ModulePattern::ends(std::string_view name) const {
  Places from(name.size() + 1);
  from[0] = true;
  for (std::size_t i = 0; i < name.size() && !begins_; ++i)
    if (name[i] == '.') from[i + 1] = true;
  return through(*root_, name, from).back();
}

}  // namespace orch::model
