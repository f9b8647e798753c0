#include "base/template/parser.h"

#include <utility>

#include "base/template/characters.h"
#include "base/template/expression_parser.h"
#include "base/template/token_reader.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

/// The texts, tags and blocks of a template.
class Parser {
 public:
  explicit Parser(TokenReader& tokens) : tokens_(tokens), expressions_(tokens) {}

  std::vector<Node> run() {
    std::vector<Node> nodes;
    body(nodes, {});
    return nodes;
  }

 private:
  using Kind = Token::Kind;
  using Ends = std::vector<std::string_view>;

  /// Nodes up to a tag that begins with one of `ends`, whose name has then been read; or, when there are none, to the
  /// end of the template.
  std::string body(std::vector<Node>& nodes, const Ends& ends) {
    const TokenReader::Nesting nesting(tokens_);
    const Token& opening = tokens_.before();
    for (;;) {
      const Token& token = tokens_.now();
      if (token.kind == Kind::kEnd) {
        if (ends.empty()) return {};
        tokens_.fail(opening, "this block is not closed; expected '{% " + std::string(ends.back()) + " %}'");
      }
      tokens_.take();
      if (token.kind == Kind::kText) {
        nodes.push_back(node(Node::Kind::kText, token));
        nodes.back().text = token.text;
      } else if (token.kind == Kind::kOutputBegin) {
        nodes.push_back(node(Node::Kind::kOutput, token));
        nodes.back().expr = expressions_.tuple();
        if (!tokens_.is(Kind::kOutputEnd)) tokens_.expected("'}}'");
        tokens_.take();
      } else {
        const Token& name = tokens_.now();
        tokens_.need_word("the name of a tag");
        if (among(ends, name.text)) return name.text;
        tag(nodes, name, ends);
      }
    }
  }

  /// The body of a block that a break cannot leave, whatever loop the block stands in.
  void closed_body(std::vector<Node>& nodes, std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    body(nodes, {end});
    loops_ = loops;
  }

  static Node node(Node::Kind kind, const Token& place) {
    Node made;
    made.kind = kind;
    made.line = place.line;
    made.column = place.column;
    return made;
  }

  void end_of_tag() {
    if (!tokens_.is(Kind::kBlockEnd)) tokens_.expected("'%}'");
    tokens_.take();
  }

  void tag(std::vector<Node>& nodes, const Token& name, const Ends& ends) {
    if (name.text == "if") return nodes.push_back(if_tag(name));
    if (name.text == "for") return nodes.push_back(for_tag(name));
    if (name.text == "set") return nodes.push_back(set_tag(name));
    if (name.text == "macro") return nodes.push_back(macro_tag(name));
    if (name.text == "include") return nodes.push_back(include_tag(name));
    if (name.text == "break" || name.text == "continue") {
      if (!loops_) tokens_.fail(name, quote(name.text) + " stands outside of a loop");
      nodes.push_back(node(name.text == "break" ? Node::Kind::kBreak : Node::Kind::kContinue, name));
      return end_of_tag();
    }
    if (name.text.starts_with("end") || name.text == "else" || name.text == "elif")
      tokens_.fail(
          name, quote(name.text) + " closes nothing here" + (ends.empty() ? "" : "; expected " + quote(ends.back())));
    static const std::vector<std::string> kTags = {"if", "for", "set", "macro", "include", "break", "continue", "raw"};
    tokens_.fail(name, "no tag " + quote(name.text) + hint(name.text, kTags));
  }

  Node if_tag(const Token& place) {
    Node made = node(Node::Kind::kIf, place);
    std::string end = "elif";
    while (end == "elif") {
      Branch branch;
      branch.condition = expressions_.tuple();
      end_of_tag();
      end = body(branch.body, {"elif", "else", "endif"});
      made.branches.push_back(std::move(branch));
    }
    if (end == "else") {
      end_of_tag();
      body(made.otherwise, {"endif"});
    }
    end_of_tag();
    return made;
  }

  std::vector<std::string> names(std::string_view what) {
    const bool bracketed = tokens_.skip_op("(");
    std::vector<std::string> found{tokens_.need_name(what)};
    while (tokens_.skip_op(",")) {
      if (!tokens_.is(Kind::kName) || tokens_.is_name("in")) break;
      found.push_back(tokens_.need_name(what));
    }
    if (bracketed) tokens_.need_op(")");
    return found;
  }

  Node for_tag(const Token& place) {
    Node made = node(Node::Kind::kFor, place);
    made.targets = names("the name of the loop's variable");
    if (among(made.targets, "loop"))
      tokens_.fail(place, "'loop' is what a loop itself is called; name its variable otherwise");
    if (!tokens_.skip_name("in")) tokens_.expected("'in'");
    made.expr = expressions_.tuple(false);
    if (tokens_.skip_name("if")) made.filter = expressions_.expression();
    if (tokens_.is_name("recursive")) tokens_.fail(tokens_.now(), "recursive loops are not part of this language");
    end_of_tag();
    ++loops_;
    const std::string end = body(made.body, {"else", "endfor"});
    --loops_;
    if (end == "else") {
      end_of_tag();
      body(made.otherwise, {"endfor"});
    }
    end_of_tag();
    return made;
  }

  Node set_tag(const Token& place) {
    static constexpr std::string_view kConstants[] = {"true", "false", "none", "True", "False", "None"};
    Node made = node(Node::Kind::kSet, place);
    if (tokens_.is_op_ahead(".")) {
      made.kind = Node::Kind::kSetField;
      made.targets.push_back(tokens_.need_name("the name of a namespace"));
      tokens_.need_op(".");
      made.targets.push_back(tokens_.need_word("the name of a field"));
    } else {
      made.targets = names("the name of a variable");
    }
    for (const std::string& target : made.targets)
      if (among(kConstants, target)) tokens_.fail(place, quote(target) + " cannot be set");
    if (tokens_.skip_op("=")) {
      made.expr = expressions_.tuple();
    } else {
      if (made.kind == Node::Kind::kSetField || made.targets.size() > 1) tokens_.expected("'='");
      if (!tokens_.is(Kind::kBlockEnd)) tokens_.expected("'=' or '%}'");
      tokens_.take();
      made.kind = Node::Kind::kSetBlock;
      closed_body(made.body, "endset");
    }
    end_of_tag();
    return made;
  }

  Node macro_tag(const Token& place) {
    Node made = node(Node::Kind::kMacro, place);
    made.text = tokens_.need_name("the name of the macro");
    tokens_.need_op("(");
    while (!tokens_.is_op(")")) {
      if (!made.targets.empty() && !tokens_.skip_op(",")) tokens_.expected("',' or ')'");
      const Token& parameter = tokens_.now();
      const std::string& target = tokens_.need_name("the name of a parameter");
      if (among(made.targets, target)) tokens_.fail(parameter, "the parameter " + quote(target) + " is named twice");
      made.targets.push_back(target);
      if (tokens_.skip_op("="))
        made.defaults.push_back(expressions_.expression());
      else if (!made.defaults.empty())
        tokens_.fail(parameter, "a parameter without a default follows one with a default");
    }
    tokens_.take();
    end_of_tag();
    closed_body(made.body, "endmacro");
    tokens_.skip_name(made.text);
    end_of_tag();
    return made;
  }

  Node include_tag(const Token& place) {
    Node made = node(Node::Kind::kInclude, place);
    made.expr = expressions_.expression();
    if (tokens_.is_name("ignore") || tokens_.is_name("with") || tokens_.is_name("without"))
      tokens_.fail(tokens_.now(), "an include takes only a name, always sees the variables and is never ignored");
    end_of_tag();
    return made;
  }

  TokenReader& tokens_;
  ExpressionParser expressions_;
  int loops_ = 0;
};

}  // namespace

std::vector<Node> parse_nodes(std::string_view text, const std::string& file, const Options& options) {
  TokenReader tokens(tokens_of(text, file, options), file, options);
  return Parser(tokens).run();
}

}  // namespace orch::tmpl
