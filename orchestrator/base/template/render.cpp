#include "base/template/render.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_map>

#include "base/template/filters.h"
#include "base/template/parser.h"
#include "base/template/shell_reader.h"
#include "base/text.h"
#include "base/units.h"

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

namespace {

constexpr std::int64_t kMostRange = 100'000;
constexpr std::size_t kMostNamespaces = 100'000;
/// Steps of the walk that may lie on the stack. With the address sanitizer one takes up to 7 KB of the usual 8 MB.
constexpr int kMostLevels = 800;

enum class Flow { kOn, kBreak, kContinue };

/// Where text goes: to the output, or to a block that is kept in a variable.
struct Sink {
  std::string& out;
  ShellReader* reader = nullptr;
};

class Renderer {
 public:
  Renderer(const std::string& file, const Options& options, const Loader& loader)
      : file_(&file),
        options_(options),
        loader_(loader),
        budget_(options),
        shell_(options.escape == Options::Escape::kShell) {}

  // Namespaces and the scopes of macros may hold themselves.
  ~Renderer() {
    for (const auto& scope : captured_) {
      const auto variables = std::move(scope->variables);
      scope->variables.clear();
    }
    for (const auto& space : namespaces_) {
      const Dict fields = std::move(space->fields);
      space->fields = {};
    }
  }
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  std::string run(const std::vector<Node>& nodes, const nlohmann::ordered_json& values) {
    take_values(values);
    std::string out;
    ShellReader reader;
    Sink sink{out, shell_ ? &reader : nullptr};
    scope_ = std::make_shared<Scope>();
    body(nodes, sink);
    if (shell_) {
      try {
        reader.end();
      } catch (const Fault& fault) {
        throw TemplateError{*file_, 0, 0, fault.what};
      }
    }
    return out;
  }

 private:
  void take_values(const nlohmann::ordered_json& values) {
    if (values.is_null()) return;
    try {
      if (!values.is_object()) throw Fault{"the values of a template are a map"};
      std::size_t steps = 0;
      values_ = from_json(values, steps).as_dict();
      budget_.spend(steps);
    } catch (const Fault& fault) {
      throw TemplateError{*file_, 0, 0, fault.what};
    }
  }

  template <class Place>
  [[noreturn]] void fail(const Place& place, std::string what) const {
    throw TemplateError{*file_, place.line, place.column, std::move(what)};
  }

  struct Level {
    Level(Renderer& r, int line, int column) : renderer(r) {
      if (++renderer.level_ > kMostLevels) {
        --renderer.level_;
        throw TemplateError{*renderer.file_, line, column, "this is nested too deeply while it is rendered"};
      }
    }
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

  void enter(std::shared_ptr<Scope> parent) {
    auto scope = std::make_shared<Scope>();
    scope->parent = std::move(parent);
    scope_ = std::move(scope);
  }

  // Statements.

  Flow body(const std::vector<Node>& nodes, Sink& sink) {
    for (const Node& node : nodes) {
      const Level level(*this, node.line, node.column);
      Flow flow = Flow::kOn;
      try {
        budget_.spend(1);
        flow = statement(node, sink);
      } catch (const Fault& fault) {
        fail(node, fault.what);
      }
      if (flow != Flow::kOn) return flow;
    }
    return Flow::kOn;
  }

  Flow statement(const Node& node, Sink& sink) {
    switch (node.kind) {
      case Node::Kind::kText:
        text(node, sink);
        break;
      case Node::Kind::kOutput:
        output(node, sink);
        break;
      case Node::Kind::kIf:
        for (const Branch& branch : node.branches)
          if (truth(eval(*branch.condition))) return body(branch.body, sink);
        return body(node.otherwise, sink);
      case Node::Kind::kFor:
        return loop(node, sink);
      case Node::Kind::kSet:
        assign(node, node.targets, eval(*node.expr));
        break;
      case Node::Kind::kSetField:
        set_field(node);
        break;
      case Node::Kind::kSetBlock: {
        std::string out;
        Sink kept{out};
        {
          const Restored<std::shared_ptr<Scope>> scope(scope_);
          enter(scope_);
          body(node.body, kept);
        }
        scope_->variables[node.targets[0]] = budget_.text(std::move(out));
        break;
      }
      case Node::Kind::kMacro:
        define(node);
        break;
      case Node::Kind::kInclude:
        return include(node, sink);
      case Node::Kind::kBreak:
        return Flow::kBreak;
      case Node::Kind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kOn;
  }

  void put(std::string_view text, Sink& sink) {
    if (text.size() > options_.most_output || sink.out.size() > options_.most_output - text.size())
      throw Fault{"the output would be longer than " + std::to_string(options_.most_output) + " bytes"};
    budget_.spend(text.size() / 64);
    sink.out += text;
  }

  void text(const Node& node, Sink& sink) {
    if (sink.reader) sink.reader->text(node.text);
    put(node.text, sink);
  }

  void output(const Node& node, Sink& sink) {
    const Expr& expr = *node.expr;
    try {
      if (!sink.reader) return put(budget_.printed(eval(expr)), sink);
      if (expr.kind == Expr::Kind::kFilter && expr.text == "words") {
        const std::string words = eval(expr).as_text();
        sink.reader->words(words);
        return put(words, sink);
      }
      const Value value = eval(expr);
      if (value.is_none()) throw Fault{"the value is none; give it one, or use default(…, true)"};
      if (value.is_list())
        throw Fault{
            "a list has no place in a script; use {% for %}, or | words for its items as words with blanks between"};
      if (!value.is_undefined() && !value.is_text() && !value.is_number())
        throw Fault{kind_of(value) + " has no place in a script; print its parts"};
      put(sink.reader->value(budget_.printed(value)), sink);
    } catch (const Fault& fault) {
      const std::string name = name_of(expr);
      fail(expr, name.empty() || fault.what.find(quote(name)) != std::string::npos ? fault.what
                                                                                   : quote(name) + ": " + fault.what);
    }
  }

  void assign(const Node& node, const std::vector<std::string>& targets, const Value& value) {
    if (targets.size() == 1) {
      scope_->variables[targets[0]] = value;
      return;
    }
    const auto items = budget_.items(value);
    if (items.size() != targets.size())
      fail(node, "expected " + counted(static_cast<long long>(targets.size()), "value") +
                     " to set as many names, found " + std::to_string(items.size()));
    for (std::size_t i = 0; i < items.size(); ++i) scope_->variables[targets[i]] = items[i];
  }

  void set_field(const Node& node) {
    const Value space = lookup(node.targets[0]);
    if (!space.holds<std::shared_ptr<Namespace>>())
      fail(node, quote(node.targets[0]) + " is " + kind_of(space) + "; only fields of a namespace() can be set");
    Value value = eval(*node.expr);
    space.get<std::shared_ptr<Namespace>>()->fields.set(Value::text(node.targets[1]), std::move(value));
  }

  Flow loop(const Node& node, Sink& sink) {
    auto items = budget_.items(eval(*node.expr));
    const Restored<std::shared_ptr<Scope>> outer(scope_);
    if (node.filter) {
      std::vector<Value> passed;
      for (const Value& item : items) {
        enter(outer.before);
        budget_.spend(1);
        assign(node, node.targets, item);
        if (truth(eval(*node.filter))) passed.push_back(item);
      }
      items = std::move(passed);
    }
    if (items.empty()) {
      scope_ = outer.before;
      return body(node.otherwise, sink);
    }
    const auto state = std::make_shared<Loop>();
    for (const Value& item : items) state->depth = std::max(state->depth, item.depth() + 1);
    if (state->depth > kMostValueDepth) throw Fault{"a loop over values that are nested too deeply"};
    state->items = std::move(items);
    // What changed() remembers may be the loop itself.
    struct Forget {
      ~Forget() { loop.last_changed.reset(); }
      Loop& loop;
    } const forget{*state};
    const Value itself{Value::Held{std::shared_ptr<const Loop>{state}}};
    for (std::size_t i = 0; i < state->items.size(); ++i) {
      budget_.spend(2);
      state->index = i;
      enter(outer.before);
      assign(node, node.targets, state->items[i]);
      scope_->variables["loop"] = itself;
      if (body(node.body, sink) == Flow::kBreak) break;
    }
    return Flow::kOn;
  }

  void define(const Node& node) {
    if (!scope_->captured) {
      scope_->captured = true;
      captured_.push_back(scope_);
    }
    scope_->variables[node.text] = Value(Value::Held(std::make_shared<const Macro>(Macro{&node, scope_, file_})));
  }

  Flow include(const Node& node, Sink& sink) {
    const std::vector<Node>* nodes = &node.body;
    const std::string* file = node.file.get();
    if (!file) {
      const Value name = eval(*node.expr);
      if (!name.is_text()) fail(node, "the name of a template to include is a text, not " + kind_of(name));
      const auto found = included(node, name.as_text());
      nodes = &found->second;
      file = &found->first;
    }
    const Restored<std::shared_ptr<Scope>> scope(scope_);
    const Restored<const std::string*> outer(file_);
    if (calls_ >= options_.most_depth)
      throw Fault{"templates include each other more than " + std::to_string(options_.most_depth) + " deep"};
    const Restored<int> calls(calls_);
    ++calls_;
    enter(scope_);
    scope_->variables["loop"] =
        Value::undefined("'loop' is not seen by included templates; set a variable to what they need");
    file_ = file;
    body(*nodes, sink);
    return Flow::kOn;
  }

  std::map<std::string, std::vector<Node>>::const_iterator included(const Node& node, const std::string& name) {
    const auto known = includes_.find(name);
    if (known != includes_.end()) return known;
    const auto text = loader_ ? loader_(name) : std::nullopt;
    if (!text) fail(node, "no template " + quote(name) + " to include");
    budget_.spend(text->size() / 8 + 1);
    return includes_.emplace(name, parse_nodes(*text, name, options_)).first;
  }

  // Expressions.

  Value eval(const Expr& expr) {
    const Level level(*this, expr.line, expr.column);
    try {
      budget_.spend(1);
      return evaluated(expr);
    } catch (const Fault& fault) {
      fail(expr, fault.what);
    }
  }

  Value evaluated(const Expr& expr) {
    switch (expr.kind) {
      case Expr::Kind::kLiteral:
        return expr.value;
      case Expr::Kind::kName:
        return lookup(expr.text);
      case Expr::Kind::kList:
        return Value::list(all(expr, 0));
      case Expr::Kind::kTuple:
        return Value::tuple(all(expr, 0));
      case Expr::Kind::kDict:
        return dict(expr);
      case Expr::Kind::kAttribute:
        return attribute_of(eval(*expr.items[0]), expr.text, budget_);
      case Expr::Kind::kItem: {
        const Value object = eval(*expr.items[0]);
        return item_of(object, eval(*expr.items[1]), budget_);
      }
      case Expr::Kind::kSlice:
        return slice(expr);
      case Expr::Kind::kCall:
        return call(eval(*expr.items[0]), arguments(expr));
      case Expr::Kind::kFilter: {
        const Value value = eval(*expr.items[0]);
        return apply_filter(expr.text, value, arguments(expr), budget_);
      }
      case Expr::Kind::kTest: {
        const Value value = eval(*expr.items[0]);
        return Value::boolean(apply_test(expr.text, value, arguments(expr), budget_));
      }
      case Expr::Kind::kUnary:
        return unary(expr.operators[0], eval(*expr.items[0]));
      case Expr::Kind::kBinary: {
        const Value left = eval(*expr.items[0]);
        return binary(expr.operators[0], left, eval(*expr.items[1]));
      }
      case Expr::Kind::kAnd:
      case Expr::Kind::kOr: {
        Value value;
        for (const ExprPtr& item : expr.items) {
          value = eval(*item);
          if (truth(value) == (expr.kind == Expr::Kind::kOr)) break;
        }
        return value;
      }
      case Expr::Kind::kConcat: {
        std::string out;
        for (const ExprPtr& item : expr.items) {
          out += budget_.printed(eval(*item));
          budget_.check_size(out.size());
        }
        return budget_.text(std::move(out));
      }
      case Expr::Kind::kCompare:
        return comparison(expr);
      case Expr::Kind::kConditional:
        if (truth(eval(*expr.items[0]))) return eval(*expr.items[1]);
        if (!expr.items[2]) return Value::undefined("the condition does not hold, and there is no else", true);
        return eval(*expr.items[2]);
    }
    return {};
  }

  Value lookup(const std::string& name) {
    for (const Scope* scope = scope_.get(); scope; scope = scope->parent.get()) {
      const auto found = scope->variables.find(name);
      if (found != scope->variables.end()) return found->second;
    }
    if (const Value* found = values_.find(name)) return *found;
    if (name == "range") return Value(Value::Held(Builtin::kRange));
    if (name == "namespace") return Value(Value::Held(Builtin::kNamespace));
    if (name == "dict") return Value(Value::Held(Builtin::kDict));
    if (name == "raise_exception") return Value(Value::Held(Builtin::kRaise));
    std::string what = quote(name) + " is not defined";
    if (options_.strict) {
      std::vector<std::string> known;
      for (const auto& [key, value] : values_.entries) {
        if (known.size() == 50) break;
        known.push_back(key.as_text().substr(0, 100));
      }
      budget_.spend(known.size());
      what += hint(name, known);
    }
    return Value::undefined(std::move(what));
  }

  std::vector<Value> all(const Expr& expr, std::size_t from) {
    std::vector<Value> values;
    for (std::size_t i = from; i < expr.items.size(); ++i) values.push_back(eval(*expr.items[i]));
    return values;
  }

  Arguments arguments(const Expr& expr) {
    Arguments given;
    const std::size_t named = expr.items.size() - expr.names.size();
    for (std::size_t i = 1; i < expr.items.size(); ++i) {
      if (i < named)
        given.values.push_back(eval(*expr.items[i]));
      else
        given.named.emplace_back(expr.names[i - named], eval(*expr.items[i]));
    }
    return given;
  }

  Value dict(const Expr& expr) {
    Dict made;
    for (std::size_t i = 0; i + 1 < expr.items.size(); i += 2) {
      Value key = eval(*expr.items[i]);
      made.set(std::move(key), eval(*expr.items[i + 1]));
    }
    return Value::dict(std::move(made));
  }

  Value slice(const Expr& expr) {
    const Value object = eval(*expr.items[0]);
    const auto bound = [&](std::size_t i) -> std::optional<std::int64_t> {
      if (!expr.items[i]) return std::nullopt;
      const Value value = eval(*expr.items[i]);
      if (value.is_none()) return std::nullopt;
      if (value.is_undefined()) throw Fault{value.why_undefined()};
      if (!value.is_integer() && !value.is_bool())
        throw Fault{"a slice has integers for bounds, not " + kind_of(value)};
      return value.as_integer();
    };
    const auto from = bound(1), to = bound(2);
    const std::int64_t step = bound(3).value_or(1);
    if (step == 0) throw Fault{"the step of a slice is not 0"};
    if (object.is_undefined()) throw Fault{object.why_undefined()};
    if (!object.is_text() && !object.is_list()) throw Fault{kind_of(object) + " cannot be sliced"};
    std::vector<std::string_view> points;
    if (object.is_text()) {
      budget_.spend(object.as_text().size() / 8);
      points = code_points(object.as_text());
    }
    const auto size = static_cast<std::int64_t>(object.is_text() ? points.size() : object.as_list().items.size());
    const auto clamp = [&](std::optional<std::int64_t> given, std::int64_t otherwise) {
      if (!given) return otherwise;
      const std::int64_t least = step < 0 ? -1 : 0, most = step < 0 ? size - 1 : size;
      const std::int64_t at = *given < 0 ? (*given < -size ? least : *given + size) : *given;
      return std::clamp(at, least, std::max(least, most));
    };
    const std::int64_t begin = clamp(from, step < 0 ? size - 1 : 0), end = clamp(to, step < 0 ? -1 : size);
    std::vector<Value> items;
    std::string text;
    for (std::int64_t i = begin; step < 0 ? i > end : i < end;) {
      if (object.is_text())
        text += points[static_cast<std::size_t>(i)];
      else
        items.push_back(object.as_list().items[static_cast<std::size_t>(i)]);
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    budget_.spend(items.size());
    if (object.is_text()) return budget_.text(std::move(text));
    return object.as_list().is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
  }

  static void need_number(const Value& value, std::string_view what) {
    if (value.is_undefined()) throw Fault{value.why_undefined()};
    if (!value.is_number()) throw Fault{std::string(what) + " takes numbers, not " + kind_of(value)};
  }

  [[noreturn]] static void overflow() { throw Fault{"the result does not fit into 64 bits"}; }

  static Value unary(Operator op, const Value& value) {
    if (op == Operator::kNot) return Value::boolean(!truth(value));
    need_number(value, "a sign");
    if (value.is_float()) return Value::number(op == Operator::kNegate ? -value.as_double() : value.as_double());
    if (op == Operator::kKeepSign) return Value::integer(value.as_integer());
    std::int64_t out = 0;
    if (__builtin_sub_overflow(std::int64_t{0}, value.as_integer(), &out)) overflow();
    return Value::integer(out);
  }

  Value binary(Operator op, const Value& a, const Value& b) {
    for (const Value* value : {&a, &b})
      if (value->is_undefined()) throw Fault{value->why_undefined()};
    if (op == Operator::kAdd) {
      if (a.is_text() && b.is_text()) {
        budget_.check_size(a.as_text().size() + b.as_text().size());
        return budget_.text(a.as_text() + b.as_text());
      }
      if (a.is_list() && b.is_list() && a.as_list().is_tuple == b.as_list().is_tuple) {
        auto items = budget_.items(a);
        const auto more = budget_.items(b);
        items.insert(items.end(), more.begin(), more.end());
        return a.as_list().is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
      }
      if (a.is_text() || b.is_text())
        throw Fault{"cannot add " + kind_of(a) + " and " + kind_of(b) + "; use ~ to join their texts"};
    }
    if (op == Operator::kMultiply) {
      if (b.is_text() || b.is_list()) {
        if (a.is_integer() || a.is_bool()) return repeated(b, a.as_integer());
      } else if ((a.is_text() || a.is_list()) && (b.is_integer() || b.is_bool())) {
        return repeated(a, b.as_integer());
      }
    }
    if (op == Operator::kModulo && a.is_text())
      throw Fault{"formatting with % is not part of this language; join with ~ and use round"};
    need_number(a, "arithmetic");
    need_number(b, "arithmetic");
    if (op == Operator::kDivide) {
      if (b.as_double() == 0) throw Fault{"division by zero"};
      return Value::number(a.as_double() / b.as_double());
    }
    if (a.is_float() || b.is_float()) return Value::number(float_arithmetic(op, a.as_double(), b.as_double()));
    return integer_arithmetic(op, a.as_integer(), b.as_integer());
  }

  Value repeated(const Value& value, std::int64_t times) {
    const auto count = static_cast<std::uint64_t>(std::max<std::int64_t>(times, 0));
    const std::size_t size = value.is_text() ? value.as_text().size() : value.as_list().items.size();
    if (size && count > options_.most_output / size) throw Fault{"the repeated value would be too long"};
    if (value.is_text()) {
      std::string out;
      out.reserve(size * count);
      for (std::uint64_t i = 0; size && i < count; ++i) out += value.as_text();
      return budget_.text(std::move(out));
    }
    budget_.spend(size * count);
    std::vector<Value> items;
    for (std::uint64_t i = 0; size && i < count; ++i)
      items.insert(items.end(), value.as_list().items.begin(), value.as_list().items.end());
    return value.as_list().is_tuple ? Value::tuple(std::move(items)) : Value::list(std::move(items));
  }

  static double float_arithmetic(Operator op, double a, double b) {
    switch (op) {
      case Operator::kAdd:
        return a + b;
      case Operator::kSubtract:
        return a - b;
      case Operator::kMultiply:
        return a * b;
      case Operator::kPower: {
        if (a == 0 && b < 0) throw Fault{"0 has no negative power"};
        const double out = std::pow(a, b);
        if (std::isnan(out) && !std::isnan(a) && !std::isnan(b)) throw Fault{"a negative number has no such power"};
        if (std::isinf(out) && std::isfinite(a) && std::isfinite(b))
          throw Fault{"the result is too large for a number"};
        return out;
      }
      default:
        break;
    }
    if (b == 0) throw Fault{"division by zero"};
    double rest = std::fmod(a, b);
    double whole = (a - rest) / b;
    if (rest != 0) {
      if ((b < 0) != (rest < 0)) {
        rest += b;
        whole -= 1;
      }
    } else {
      rest = std::copysign(0.0, b);
    }
    if (op == Operator::kModulo) return rest;
    if (whole == 0) return std::copysign(0.0, a / b);
    const double floor = std::floor(whole);
    return whole - floor > 0.5 ? floor + 1 : floor;
  }

  static Value integer_arithmetic(Operator op, std::int64_t a, std::int64_t b) {
    std::int64_t out = 0;
    switch (op) {
      case Operator::kAdd:
        if (__builtin_add_overflow(a, b, &out)) overflow();
        break;
      case Operator::kSubtract:
        if (__builtin_sub_overflow(a, b, &out)) overflow();
        break;
      case Operator::kMultiply:
        if (__builtin_mul_overflow(a, b, &out)) overflow();
        break;
      case Operator::kFloorDivide:
        if (b == 0) throw Fault{"division by zero"};
        if (a == INT64_MIN && b == -1) overflow();
        out = a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
        break;
      case Operator::kModulo:
        if (b == 0) throw Fault{"division by zero"};
        if (b == -1) break;
        out = a % b;
        if (out != 0 && (out < 0) != (b < 0)) out += b;
        break;
      case Operator::kPower: {
        if (b < 0) return Value::number(float_arithmetic(op, static_cast<double>(a), static_cast<double>(b)));
        out = 1;
        std::int64_t base = a;
        for (std::int64_t left = b; left > 0;) {
          if ((left & 1) != 0 && __builtin_mul_overflow(out, base, &out)) overflow();
          left >>= 1;
          if (left > 0 && __builtin_mul_overflow(base, base, &base)) overflow();
        }
        break;
      }
      default:
        break;
    }
    return Value::integer(out);
  }

  bool compared(Operator op, const Value& a, const Value& b) {
    if (op == Operator::kEqual) return budget_.equals(a, b);
    if (op == Operator::kNotEqual) return !budget_.equals(a, b);
    if (op == Operator::kIn) return budget_.contains(b, a);
    if (op == Operator::kNotIn) return !budget_.contains(b, a);
    const int way = budget_.order(a, b);
    // A number that is none is neither above nor below another.
    for (const Value* value : {&a, &b})
      if (value->is_float() && std::isnan(value->as_double())) return false;
    switch (op) {
      case Operator::kLess:
        return way < 0;
      case Operator::kLessEqual:
        return way <= 0;
      case Operator::kGreater:
        return way > 0;
      default:
        return way >= 0;
    }
  }

  Value comparison(const Expr& expr) {
    Value left = eval(*expr.items[0]);
    for (std::size_t i = 0; i < expr.operators.size(); ++i) {
      Value right = eval(*expr.items[i + 1]);
      if (!compared(expr.operators[i], left, right)) return Value::boolean(false);
      left = std::move(right);
    }
    return Value::boolean(true);
  }

  Value call(const Value& function, const Arguments& given) {
    if (function.holds<std::shared_ptr<const Method>>()) {
      const auto method = function.get<std::shared_ptr<const Method>>();
      return call_method(method->self, method->name, given, budget_);
    }
    if (function.holds<std::shared_ptr<const Macro>>())
      return call_macro(*function.get<std::shared_ptr<const Macro>>(), given);
    if (function.holds<Builtin>()) return call_builtin(function.get<Builtin>(), given);
    if (function.is_undefined()) throw Fault{function.why_undefined()};
    throw Fault{kind_of(function) + " cannot be called"};
  }

  Value call_macro(const Macro& macro, const Arguments& given) {
    const Node& node = *macro.node;
    if (calls_ >= options_.most_depth)
      throw Fault{"macros call each other more than " + std::to_string(options_.most_depth) + " deep"};
    const Restored<int> calls(calls_);
    ++calls_;
    if (given.values.size() > node.targets.size())
      throw Fault{"the macro " + quote(node.text) + " takes " +
                  counted(static_cast<long long>(node.targets.size()), "argument") + ", not " +
                  std::to_string(given.values.size())};
    for (const auto& [name, value] : given.named) {
      const auto at = std::find(node.targets.begin(), node.targets.end(), name);
      if (at == node.targets.end())
        throw Fault{"the macro " + quote(node.text) + " takes no argument " + quote(name) + hint(name, node.targets)};
      if (static_cast<std::size_t>(at - node.targets.begin()) < given.values.size())
        throw Fault{"the macro " + quote(node.text) + " is given " + quote(name) + " twice"};
    }
    const Restored<std::shared_ptr<Scope>> scope(scope_);
    const Restored<const std::string*> file(file_);
    enter(macro.scope);
    file_ = macro.file;
    for (std::size_t i = 0; i < node.targets.size(); ++i) {
      const std::string& target = node.targets[i];
      const auto named =
          std::find_if(given.named.begin(), given.named.end(), [&](const auto& n) { return n.first == target; });
      const std::size_t without_default = node.targets.size() - node.defaults.size();
      Value value;
      if (i < given.values.size())
        value = given.values[i];
      else if (named != given.named.end())
        value = named->second;
      else if (i >= without_default)
        value = eval(*node.defaults[i - without_default]);
      else
        value = Value::undefined("the parameter " + quote(target) + " was not given");
      scope_->variables[target] = std::move(value);
    }
    std::string out;
    Sink sink{out};
    body(node.body, sink);
    return budget_.text(std::move(out));
  }

  Value call_builtin(Builtin function, const Arguments& given) {
    switch (function) {
      case Builtin::kRange:
        return range(given);
      case Builtin::kNamespace:
      case Builtin::kDict:
        return map_of(function, given);
      case Builtin::kRaise:
        break;
    }
    const Taken taken(given, "raise_exception", {"message"});
    throw Fault{budget_.printed(taken.need(0))};
  }

  Value range(const Arguments& given) {
    const Taken taken(given, "range", {"start", "stop", "step"});
    taken.need(0);
    const std::int64_t from = taken.has(1) ? taken.integer(0, 0) : 0;
    const std::int64_t to = taken.has(1) ? taken.integer(1, 0) : taken.integer(0, 0);
    const std::int64_t step = taken.integer(2, 1);
    if (step == 0) throw Fault{"the step of a range is not 0"};
    std::vector<Value> items;
    for (std::int64_t i = from; step > 0 ? i < to : i > to;) {
      if (static_cast<std::int64_t>(items.size()) == kMostRange)
        throw Fault{"a range of more than " + grouped(kMostRange) + " numbers"};
      items.push_back(Value::integer(i));
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    budget_.spend(items.size());
    return Value::list(std::move(items));
  }

  Value map_of(Builtin function, const Arguments& given) {
    Dict fields;
    if (given.values.size() > 1) throw Fault{"expected one map at most, then arguments by name"};
    if (!given.values.empty()) {
      const Value& first = given.values[0];
      if (first.is_undefined()) throw Fault{first.why_undefined()};
      if (first.is_dict()) {
        budget_.spend(first.as_dict().entries.size());
        fields = first.as_dict();
      } else {
        for (const Value& pair : budget_.items(first)) {
          const auto two = budget_.items(pair);
          if (two.size() != 2) throw Fault{"expected pairs of a key and a value"};
          fields.set(two[0], two[1]);
        }
      }
    }
    for (const auto& [name, value] : given.named) fields.set(Value::text(name), value);
    if (function == Builtin::kDict) return Value::dict(std::move(fields));
    if (namespaces_.size() == kMostNamespaces) throw Fault{"more than " + grouped(kMostNamespaces) + " namespaces"};
    auto space = std::make_shared<Namespace>();
    space->fields = std::move(fields);
    namespaces_.push_back(space);
    return Value(Value::Held(std::move(space)));
  }

  const std::string* file_;
  const Options& options_;
  const Loader& loader_;
  Budget budget_;
  const bool shell_;
  Dict values_;
  std::shared_ptr<Scope> scope_;
  std::map<std::string, std::vector<Node>> includes_;
  std::vector<std::shared_ptr<Scope>> captured_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  int level_ = 0;
  int calls_ = 0;
};

}  // namespace

std::string render_nodes(const std::vector<Node>& nodes, const std::string& file, const Options& options,
                         const Loader& loader, const nlohmann::ordered_json& values) {
  return Renderer(file, options, loader).run(nodes, values);
}

std::string name_of(const Expr& expr) {
  if (expr.kind == Expr::Kind::kName) return expr.text;
  if (expr.kind != Expr::Kind::kAttribute) return {};
  const std::string object = name_of(*expr.items[0]);
  return object.empty() ? object : object + "." + expr.text;
}

}  // namespace orch::tmpl
