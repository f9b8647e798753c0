// The statements of a template: texts, output, if, for, set, macro, include.
#include <algorithm>

#include "base/template/parser.h"
#include "base/template/renderer.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

/// With the address sanitizer a step of the walk takes up to 7 KB of the stack's usual 8 MB.
constexpr int kMostLevels = 800;

/// What changed() remembers may be the loop itself.
struct Forget {
  ~Forget() { loop.last_changed.reset(); }
  Loop& loop;
};

/// A Fault for what sbatch would not take.
void check_beginning(std::string_view script) {
  if (script.starts_with("#!")) return;
  const std::string found =
      trim(script).empty() ? "is empty" : "begins with " + quote(script.substr(0, script.find('\n', 1)));
  throw Fault{"the script " + found +
              "; sbatch expects it to begin with '#!' and an interpreter, such as '#!/bin/bash'"};
}

}  // namespace

Renderer::Renderer(const std::string& file, const Options& options, const Loader& loader, Now now)
    : file_(&file),
      options_(options),
      loader_(loader),
      now_(now),
      budget_(options),
      shell_(options.escape == Options::Escape::kShell) {}

Renderer::~Renderer() {
  for (const auto& scope : captured_) {
    const auto variables = std::move(scope->variables);
    scope->variables.clear();
  }
  for (const auto& space : namespaces_) {
    const Dict fields = std::move(space->fields);
    space->fields = {};
  }
}

Renderer::Level::Level(Renderer& r, int line, int column) : renderer(r) {
  if (++renderer.level_ > kMostLevels) {
    --renderer.level_;
    throw TemplateError{*renderer.file_, line, column, "this is nested too deeply while it is rendered"};
  }
}

Rendered Renderer::run(const std::vector<Node>& nodes, const nlohmann::ordered_json& values) {
  std::string& out = rendered_.text;
  ShellReader reader;
  Sink sink{out, shell_ ? &reader : nullptr};
  scope_ = std::make_shared<Scope>();
  try {
    take_values(values);
    body(nodes, sink);
    if (shell_) {
      reader.end();
      check_beginning(out);
    }
  } catch (const Fault& fault) {
    throw TemplateError{*file_, 0, 0, fault.what};
  }
  return std::move(rendered_);
}

void Renderer::take_values(const nlohmann::ordered_json& values) {
  if (values.is_null()) return;
  if (!values.is_object()) throw Fault{"the values of a template are a map"};
  std::size_t steps = 0;
  values_ = from_json(values, steps).as_dict();
  budget_.spend(steps);
}

void Renderer::enter(std::shared_ptr<Scope> parent) {
  auto scope = std::make_shared<Scope>();
  scope->parent = std::move(parent);
  scope_ = std::move(scope);
}

void Renderer::go_deeper(std::string_view what) {
  if (calls_ >= options_.most_depth)
    throw Fault{std::string(what) + " each other more than " + std::to_string(options_.most_depth) + " deep"};
  ++calls_;
}

Renderer::Flow Renderer::body(const std::vector<Node>& nodes, Sink& sink) {
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

Renderer::Flow Renderer::statement(const Node& node, Sink& sink) {
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
      return loop(node, eval(*node.expr), 0, sink);
    case Node::Kind::kSet:
      assign(node, node.targets, eval(*node.expr));
      break;
    case Node::Kind::kSetField:
      set_field(node, eval(*node.expr));
      break;
    case Node::Kind::kSetBlock:
      set_block(node);
      break;
    case Node::Kind::kMacro:
      scope_->variables[node.text] = macro_of(node);
      break;
    case Node::Kind::kInclude:
      include(node, sink);
      break;
    case Node::Kind::kCall:
      call_block(node, sink);
      break;
    case Node::Kind::kFilter:
      put(budget_.printed(filtered(node)), sink);
      break;
    case Node::Kind::kWith:
      with(node, sink);
      break;
    case Node::Kind::kGeneration:
      generation(node, sink);
      break;
    case Node::Kind::kBreak:
      return Flow::kBreak;
    case Node::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

void Renderer::put(std::string_view text, Sink& sink) {
  if (text.size() > options_.most_output || sink.out.size() > options_.most_output - text.size())
    throw Fault{"the output would be longer than " + std::to_string(options_.most_output) + " bytes"};
  budget_.spend(text.size() / 64);
  sink.out += text;
}

void Renderer::text(const Node& node, Sink& sink) {
  if (sink.reader) sink.reader->text(node.text);
  put(node.text, sink);
}

void Renderer::output(const Node& node, Sink& sink) {
  try {
    put_value(*node.expr, sink);
  } catch (const Fault& fault) {
    const std::string name = name_of(*node.expr);
    const bool is_named = name.empty() || fault.what.find(quote(name)) != std::string::npos;
    fail(*node.expr, is_named ? fault.what : quote(name) + ": " + fault.what);
  }
}

void Renderer::put_value(const Expr& expr, Sink& sink) {
  const Value value = eval(expr);
  if (!sink.reader) return put(budget_.printed(value), sink);
  if (expr.kind == Expr::Kind::kFilter && expr.text == "words") {
    sink.reader->words(value.as_text());
    return put(value.as_text(), sink);
  }
  if (value.is_none()) throw Fault{"the value is none; give it one, or use default(…, true)"};
  if (value.is_list())
    throw Fault{
        "a list has no place in a script; use {% for %}, or | words for its items as words with blanks between"};
  if (!value.is_undefined() && !value.is_text() && !value.is_number())
    throw Fault{kind_of(value) + " has no place in a script; print its parts"};
  put(sink.reader->value(budget_.printed(value)), sink);
}

void Renderer::assign(const Node& node, const std::vector<std::string>& targets, const Value& value) {
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

void Renderer::set_field(const Node& node, Value value) {
  const Value space = lookup(node.targets[0]);
  if (!space.holds<std::shared_ptr<Namespace>>())
    fail(node, quote(node.targets[0]) + " is " + kind_of(space) + "; only fields of a namespace() can be set");
  if (options_.chat && node.targets[1].starts_with('_'))
    fail(node, "a chat template gives no field of a namespace a name that begins with '_'");
  space.get<std::shared_ptr<Namespace>>()->fields.set(Value::text(node.targets[1]), std::move(value));
}

void Renderer::set_block(const Node& node) {
  Value value = node.expr ? filtered(node) : budget_.text(printed_by(node));
  if (node.targets.size() > 1) return set_field(node, std::move(value));
  scope_->variables[node.targets[0]] = std::move(value);
}

std::string Renderer::printed_by(const Node& node) {
  std::string out;
  Sink kept{out};
  const Restored<std::shared_ptr<Scope>> scope(scope_);
  enter(scope_);
  body(node.body, kept);
  return out;
}

Value Renderer::filtered(const Node& node) {
  Value text = budget_.text(printed_by(node));
  const Restored<std::shared_ptr<Scope>> scope(scope_);
  enter(scope_);
  scope_->variables[kBlockText] = std::move(text);
  return eval(*node.expr);
}

void Renderer::with(const Node& node, Sink& sink) {
  std::vector<Value> values;
  for (const ExprPtr& expr : node.defaults) values.push_back(eval(*expr));
  const Restored<std::shared_ptr<Scope>> scope(scope_);
  enter(scope_);
  for (std::size_t i = 0; i < values.size(); ++i) scope_->variables[node.targets[i]] = std::move(values[i]);
  body(node.body, sink);
}

void Renderer::call_block(const Node& node, Sink& sink) {
  const Value caller = macro_of(node);
  const Value function = eval(*node.expr->items[0]);
  Arguments given = arguments(*node.expr);
  given.named.emplace_back("caller", caller);
  put(budget_.printed(call(function, given)), sink);
}

void Renderer::generation(const Node& node, Sink& sink) {
  const std::size_t from = rendered_.text.size();
  const std::string text = printed_by(node);
  budget_.spend(1);
  rendered_.generated.push_back({from, from + text.size()});
  put(text, sink);
}

/// Those that pass the loop's filter. May leave a scope behind, which loop() replaces.
std::vector<Value> Renderer::loop_items(const Node& node, const Value& over) {
  auto items = budget_.items(over);
  if (!node.filter) return items;
  const std::shared_ptr<Scope> outer = scope_;
  std::vector<Value> passed;
  for (const Value& item : items) {
    enter(outer);
    budget_.spend(1);
    assign(node, node.targets, item);
    if (truth(eval(*node.filter))) passed.push_back(item);
  }
  return passed;
}

Renderer::Flow Renderer::loop(const Node& node, const Value& over, int level, Sink& sink) {
  const Restored<std::shared_ptr<Scope>> outer(scope_);
  auto items = loop_items(node, over);
  if (items.empty()) {
    enter(outer.before);
    return body(node.otherwise, sink);
  }
  const auto state = std::make_shared<Loop>();
  for (const Value& item : items) state->depth = std::max(state->depth, item.depth() + 1);
  if (state->depth > kMostValueDepth) throw Fault{"a loop over values that are nested too deeply"};
  state->items = std::move(items);
  state->level = level;
  if (node.is_recursive) {
    scope_ = outer.before;
    capture();
    state->node = &node;
    state->scope = scope_;
  }
  const Forget forget{*state};
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

/// The scope that is now is emptied at the end, since what it holds may hold it.
void Renderer::capture() {
  if (scope_->captured) return;
  scope_->captured = true;
  captured_.push_back(scope_);
}

Value Renderer::macro_of(const Node& node) {
  capture();
  return Value(Value::Held(std::make_shared<const Macro>(Macro{&node, scope_, file_})));
}

void Renderer::include(const Node& node, Sink& sink) {
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
  const Restored<int> calls(calls_);
  go_deeper("templates include");
  enter(scope_);
  scope_->variables["loop"] =
      Value::undefined("'loop' is not seen by included templates; set a variable to what they need");
  file_ = file;
  body(*nodes, sink);
}

std::map<std::string, std::vector<Node>>::const_iterator Renderer::included(const Node& node, const std::string& name) {
  const auto known = includes_.find(name);
  if (known != includes_.end()) return known;
  const auto text = loader_ ? loader_(name) : std::nullopt;
  if (!text) fail(node, "no template " + quote(name) + " to include");
  budget_.spend(text->size() / 8 + 1);
  return includes_.emplace(name, parse_nodes(*text, name, options_)).first;
}

}  // namespace orch::tmpl
