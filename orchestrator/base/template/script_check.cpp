#include "base/template/script_check.h"

#include <algorithm>
#include <utility>

#include "base/template/parser.h"
#include "base/template/shell_reader.h"
#include "base/text.h"
#include "base/units.h"

namespace orch::tmpl {
namespace {

constexpr std::size_t kMostScript = std::size_t{4} << 20;  // bytes, with all inclusions
constexpr std::size_t kMostInclusions = 1000;

class ScriptCheck {
 public:
  ScriptCheck(const Options& options, const Loader& loader) : options_(options), loader_(loader) {}

  void run(std::vector<Node>& nodes, const std::string& file) {
    ShellReader reader;
    body(nodes, reader, file);
    const auto [line, column] = last_;
    try {
      reader.end();
    } catch (const Fault& fault) {
      throw TemplateError{file, line, column, fault.what};
    }
  }

 private:
  void body(std::vector<Node>& nodes, ShellReader& reader, const std::string& file) {
    for (Node& node : nodes) {
      last_ = {node.line, node.column};
      try {
        statement(node, reader, file);
      } catch (const Fault& fault) {
        if (node.kind == Node::Kind::kText) fail_in_text(node, reader.fault_offset(), fault, file);
        const Expr* expr = node.kind == Node::Kind::kOutput ? node.expr.get() : nullptr;
        const std::string name = expr ? name_of(*expr) : std::string();
        throw TemplateError{file, expr ? expr->line : node.line, expr ? expr->column : node.column,
                            name.empty() ? fault.what : quote(name) + ": " + fault.what};
      }
    }
  }

  [[noreturn]] static void fail_in_text(const Node& node, std::size_t offset, const Fault& fault,
                                        const std::string& file) {
    const std::string_view before = std::string_view(node.text).substr(0, offset);
    const auto lines = static_cast<int>(std::count(before.begin(), before.end(), '\n'));
    const std::size_t start = before.rfind('\n');
    const int column = start == std::string_view::npos ? node.column + static_cast<int>(before.size())
                                                       : static_cast<int>(before.size() - start);
    throw TemplateError{file, node.line + lines, column, fault.what};
  }

  static void need_same(const ShellReader& before, const ShellReader& after, std::string_view what) {
    if (!before.same_place(after))
      throw Fault{std::string(what) + " ends " + after.place() + " of the script, and not " + before.place() + " as " +
                  "it must for what follows to be read alike"};
  }

  void statement(Node& node, ShellReader& reader, const std::string& file) {
    switch (node.kind) {
      case Node::Kind::kText:
        reader.text(node.text);
        break;
      case Node::Kind::kOutput:
        reader.any_value();
        break;
      case Node::Kind::kIf: {
        const ShellReader start = reader;
        body(node.otherwise, reader, file);
        for (Branch& branch : node.branches) {
          ShellReader other = start;
          body(branch.body, other, file);
          need_same(reader, other, "a branch of this 'if'");
        }
        break;
      }
      case Node::Kind::kFor: {
        const ShellReader start = reader;
        body(node.otherwise, reader, file);
        need_same(start, reader, "the 'else' of this loop");
        const ShellReader* outer = std::exchange(loop_, &start);
        ShellReader inside = start;
        body(node.body, inside, file);
        loop_ = outer;
        need_same(start, inside, "the body of this loop");
        if (node.otherwise.empty()) reader = inside;
        break;
      }
      case Node::Kind::kBreak:
      case Node::Kind::kContinue:
        if (loop_) need_same(*loop_, reader, "the body of this loop, left here,");
        break;
      case Node::Kind::kInclude:
        include(node, reader);
        break;
      case Node::Kind::kSet:
      case Node::Kind::kSetField:
      case Node::Kind::kSetBlock:
      case Node::Kind::kMacro:
      case Node::Kind::kCall:
      case Node::Kind::kFilter:
      case Node::Kind::kWith:
      case Node::Kind::kGeneration:
        break;  // these print nothing, or are in no script; what is kept is quoted where it is printed
    }
  }

  void include(Node& node, ShellReader& reader) {
    if (node.expr->kind != Expr::Kind::kLiteral || !node.expr->value.is_text())
      throw Fault{"a script includes templates by a name that is written out"};
    const std::string& name = node.expr->value.as_text();
    if (depth_ >= options_.most_depth)
      throw Fault{"templates include each other more than " + std::to_string(options_.most_depth) + " deep"};
    const auto text = loader_ ? loader_(name) : std::nullopt;
    if (!text) throw Fault{"no template " + quote(name) + " to include"};
    bytes_ += text->size();
    if (++inclusions_ > kMostInclusions || bytes_ > kMostScript)
      throw Fault{"the script with all it includes is longer than " + format_bytes(static_cast<double>(kMostScript)) +
                  " or includes more than " + std::to_string(kMostInclusions) + " templates"};
    // Each inclusion has its own copy, since each is read at its own place.
    node.file = std::make_shared<const std::string>(name);
    node.body = parse_nodes(*text, name, options_);
    const ShellReader start = reader;
    ++depth_;
    const ShellReader* outer = std::exchange(loop_, nullptr);
    body(node.body, reader, name);
    loop_ = outer;
    --depth_;
    need_same(start, reader, "the included template");
  }

  const Options& options_;
  const Loader& loader_;
  const ShellReader* loop_ = nullptr;
  std::pair<int, int> last_{1, 1};
  std::size_t bytes_ = 0;
  std::size_t inclusions_ = 0;
  int depth_ = 0;
};

}  // namespace

void check_script(std::vector<Node>& nodes, const std::string& file, const Options& options, const Loader& loader) {
  ScriptCheck(options, loader).run(nodes, file);
}

}  // namespace orch::tmpl
