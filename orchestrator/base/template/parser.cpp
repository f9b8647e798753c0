#include "base/template/parser.h"

#include <array>
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
    if (tokens_.options().chat) {
      if (chat_tag(nodes, name)) return;
    } else if (name.text == "include") {
      return nodes.push_back(include_tag(name));
    }
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

  /// Those that only chat templates have; false for any other.
  bool chat_tag(std::vector<Node>& nodes, const Token& name) {
    static constexpr std::string_view kOthers[] = {"include", "import", "from", "extends", "block"};
    if (among(kOthers, name.text))
      tokens_.fail(name, quote(name.text) + " reaches for other templates; a chat template stands alone");
    if (name.text == "call") return nodes.push_back(call_tag(name)), true;
    if (name.text == "with") return nodes.push_back(with_tag(name)), true;
    if (name.text != "filter" && name.text != "generation") return false;
    Node made = node(name.text == "filter" ? Node::Kind::kFilter : Node::Kind::kGeneration, name);
    if (made.kind == Node::Kind::kFilter) made.expr = expressions_.filters_of_block();
    end_of_tag();
    closed_body(made.body, made.kind == Node::Kind::kFilter ? "endfilter" : "endgeneration");
    end_of_tag();
    nodes.push_back(std::move(made));
    return true;
  }

  Node with_tag(const Token& place) {
    Node made = node(Node::Kind::kWith, place);
    while (!tokens_.is(Kind::kBlockEnd)) {
      if (!made.targets.empty() && !tokens_.skip_op(",")) tokens_.expected("',' or '%}'");
      made.targets.push_back(tokens_.need_name("the name of a variable"));
      tokens_.need_op("=");
      made.defaults.push_back(expressions_.expression());
    }
    end_of_tag();
    body(made.body, {"endwith"});
    end_of_tag();
    return made;
  }

  Node call_tag(const Token& place) {
    Node made = node(Node::Kind::kCall, place);
    made.text = "caller";
    if (tokens_.is_op("(")) parameters(made);
    const Token& called = tokens_.now();
    made.expr = expressions_.expression();
    if (made.expr->kind != Expr::Kind::kCall) tokens_.fail(called, "expected a call, such as name()");
    end_of_tag();
    macro_body(made, "endcall");
    end_of_tag();
    return made;
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
    if (tokens_.is_name("recursive") && !tokens_.options().chat)
      tokens_.fail(tokens_.now(), "recursive loops are not part of this language");
    made.is_recursive = tokens_.skip_name("recursive");
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
      const bool chat = tokens_.options().chat;
      if ((made.kind == Node::Kind::kSetField && !chat) || (made.kind == Node::Kind::kSet && made.targets.size() > 1))
        tokens_.expected("'='");
      if (chat && tokens_.skip_op("|")) made.expr = expressions_.filters_of_block();
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
    parameters(made);
    end_of_tag();
    macro_body(made, "endmacro");
    tokens_.skip_name(made.text);
    end_of_tag();
    return made;
  }

  /// The body of a macro, in which `caller`, `varargs` and `kwargs` mean something in a chat template.
  void macro_body(Node& made, std::string_view end) {
    static constexpr std::string_view kWords[] = {"caller", "varargs", "kwargs"};
    std::array<bool, 3> outside{};
    for (std::size_t i = 0; i < outside.size(); ++i) outside[i] = expressions_.take_mention(kWords[i]);
    closed_body(made.body, end);
    const bool chat = tokens_.options().chat;
    made.wants_caller = chat && expressions_.take_mention("caller");
    made.wants_varargs = chat && expressions_.take_mention("varargs");
    made.wants_kwargs = chat && expressions_.take_mention("kwargs");
    // What a macro in a macro speaks of, the outer one speaks of too.
    const std::array<bool, 3> inside{made.wants_caller, made.wants_varargs, made.wants_kwargs};
    for (std::size_t i = 0; i < outside.size(); ++i)
      if (outside[i] || inside[i]) expressions_.mention(kWords[i]);
  }

  /// In parentheses, those with a default last.
  void parameters(Node& made) {
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
