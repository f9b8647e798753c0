// What the parser makes of a template and the renderer walks.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/template/value.h"

namespace orch::tmpl {

enum class Operator {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
  kNegate,
  kKeepSign,
  kNot,
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum class Kind {
    kLiteral,    ///< value
    kName,       ///< text
    kList,       ///< items
    kTuple,      ///< items
    kDict,       ///< items: key, value, key, value
    kAttribute,  ///< items[0].text
    kItem,       ///< items[0][items[1]]
    kSlice,      ///< items[0][items[1]:items[2]:items[3]], null where left out
    kCall,       ///< items[0](the rest)
    kFilter,     ///< items[0] | text(the rest)
    kTest,       ///< items[0] is text(the rest)
    kUnary,      ///< operators[0] items[0]
    kBinary,     ///< items[0] operators[0] items[1]
    kAnd,
    kOr,           ///< of all items
    kConcat,       ///< of all items
    kCompare,      ///< items[0] operators[0] items[1] operators[1] items[2] ...
    kConditional,  ///< items[1] if items[0] else items[2], which may be null
  };

  Kind kind{};
  int line = 0;
  int column = 0;
  int depth = 1;
  Value value;
  std::string text;
  std::vector<Operator> operators;
  std::vector<ExprPtr> items;
  std::vector<std::string>
      names;  ///< of the last items: arguments given by name, and * and ** of lists and maps of them
};

/// `task.name`, when the expression is just that; else nothing.
inline std::string name_of(const Expr& expr) {
  if (expr.kind == Expr::Kind::kName) return expr.text;
  if (expr.kind != Expr::Kind::kAttribute) return {};
  const std::string object = name_of(*expr.items[0]);
  return object.empty() ? object : object + "." + expr.text;
}

/// What the filters of a kFilter or a kSetBlock act on goes by this name, which no template can write.
inline constexpr const char* kBlockText = "{}";

struct Node;

struct Branch {
  ExprPtr condition;
  std::vector<Node> body;
};

struct Node {
  enum class Kind {
    kText,        ///< text
    kOutput,      ///< expr
    kIf,          ///< branches in turn, else otherwise
    kFor,         ///< targets in expr, those that pass filter: body; when there are none: otherwise
    kSet,         ///< targets = expr
    kSetField,    ///< targets[0].targets[1] = expr
    kSetBlock,    ///< targets[0], or targets[0].targets[1], = what body prints, passed through expr if there is one
    kMacro,       ///< text(targets, the last with defaults): body
    kInclude,     ///< expr; or body, where it was read beforehand
    kCall,        ///< expr, a call, given as `caller` what kMacro would define
    kFilter,      ///< what body prints, passed through expr
    kWith,        ///< targets = defaults in body
    kGeneration,  ///< what body prints, and its place in the output
    kBreak,
    kContinue,
  };

  Kind kind{};
  int line = 0;
  int column = 0;
  std::string text;
  ExprPtr expr;
  ExprPtr filter;
  std::vector<std::string> targets;
  std::vector<ExprPtr> defaults;
  std::vector<Branch> branches;
  std::vector<Node> body;
  std::vector<Node> otherwise;
  bool is_recursive = false;  ///< of kFor
  bool wants_caller = false;  ///< of kMacro and kCall: the body speaks of `caller`
  bool wants_varargs = false, wants_kwargs = false;
  std::shared_ptr<const std::string> file;  ///< of an include that was read beforehand
};

}  // namespace orch::tmpl
