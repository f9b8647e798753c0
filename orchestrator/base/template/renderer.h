// Walks the tree of a template and writes its text. Statements: render_statements.cpp, expressions:
// render_expressions.cpp, calls of macros and functions: render_calls.cpp.
//
// Holds:
//  - In a script, whatever is printed passes through the ShellReader.
//  - Namespaces and scopes, which may hold themselves, end with the rendering.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/template/arguments.h"
#include "base/template/ast.h"
#include "base/template/budget.h"
#include "base/template/shell_reader.h"
#include "base/template/template.h"
#include "base/template/value.h"

namespace orch::tmpl {

struct Scope {
  std::unordered_map<std::string, Value> variables;
  std::shared_ptr<Scope> parent;
  bool captured = false;  ///< by a macro
};

struct Macro {
  const Node* node = nullptr;
  std::shared_ptr<Scope> scope;  ///< in which it was defined
  const std::string* file = nullptr;
};

/// One rendering. Its members throw a Fault where the place is not known yet, else a TemplateError.
class Renderer {
 public:
  Renderer(const std::string& file, const Options& options, const Loader& loader, Now now = {});
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  /// Throws a TemplateError.
  Rendered run(const std::vector<Node>& nodes, const nlohmann::ordered_json& values);

 private:
  enum class Flow { kOn, kBreak, kContinue };

  /// Where text goes: to the output, or to a block that is kept in a variable.
  struct Sink {
    std::string& out;
    ShellReader* reader = nullptr;
  };

  /// A step of the walk that lies on the stack.
  struct Level {
    Level(Renderer& r, int line, int column);
    ~Level() { --renderer.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    Renderer& renderer;
  };

  /// Puts back what a macro, a loop or an include changes for its own time, however it ends.
  template <class T>
  struct Restored {
    explicit Restored(T& held) : place(held), before(held) {}
    ~Restored() { place = std::move(before); }
    Restored(const Restored&) = delete;
    Restored& operator=(const Restored&) = delete;
    T& place;
    T before;
  };

  template <class Place>
  [[noreturn]] void fail(const Place& place, std::string what) const {
    throw TemplateError{*file_, place.line, place.column, std::move(what)};
  }

  // Statements.
  void take_values(const nlohmann::ordered_json& values);
  void enter(std::shared_ptr<Scope> parent);
  /// One macro or inclusion more; a Fault past the limit, where `what` call each other.
  void go_deeper(std::string_view what);
  Flow body(const std::vector<Node>& nodes, Sink& sink);
  Flow statement(const Node& node, Sink& sink);
  void put(std::string_view text, Sink& sink);
  void text(const Node& node, Sink& sink);
  void output(const Node& node, Sink& sink);
  void put_value(const Expr& expr, Sink& sink);
  void assign(const Node& node, const std::vector<std::string>& targets, const Value& value);
  void set_field(const Node& node, Value value);
  void set_block(const Node& node);
  /// What a block prints, in a scope of its own.
  std::string printed_by(const Node& node);
  /// The same, passed through the filters of the node.
  Value filtered(const Node& node);
  void with(const Node& node, Sink& sink);
  void call_block(const Node& node, Sink& sink);
  void generation(const Node& node, Sink& sink);
  Flow loop(const Node& node, const Value& over, int level, Sink& sink);
  std::vector<Value> loop_items(const Node& node, const Value& over);
  void capture();
  Value macro_of(const Node& node);
  void include(const Node& node, Sink& sink);
  std::map<std::string, std::vector<Node>>::const_iterator included(const Node& node, const std::string& name);

  // Expressions.
  Value eval(const Expr& expr);
  Value evaluated(const Expr& expr);
  Value lookup(const std::string& name);
  std::vector<Value> all(const Expr& expr);
  Arguments arguments(const Expr& expr);
  void add_from(const std::string& name, const Value& value, Arguments& given);
  Value dict(const Expr& expr);
  Value slice(const Expr& expr);
  Value both_or_either(const Expr& expr);
  Value concatenation(const Expr& expr);
  Value comparison(const Expr& expr);

  // Calls.
  Value call(const Value& function, const Arguments& given);
  Value call_macro(const Macro& macro, const Arguments& given);
  Value call_loop(const Loop& loop, const Arguments& given);
  Value call_builtin(Builtin function, const Arguments& given);
  Value make_namespace(Dict fields);

  const std::string* file_;
  const Options& options_;
  const Loader& loader_;
  const Now now_;
  Budget budget_;
  const bool shell_;
  Dict values_;
  std::shared_ptr<Scope> scope_;
  Rendered rendered_;
  std::map<std::string, std::vector<Node>> includes_;
  std::vector<std::shared_ptr<Scope>> captured_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  int level_ = 0;
  int calls_ = 0;
};

}  // namespace orch::tmpl
