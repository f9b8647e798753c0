// What +, <, in and the other operators do to values, with the meaning they have in Python.
//
// Holds:
//  - Integers have 64 bits, and a result that does not fit is a Fault.
#pragma once

#include "base/template/ast.h"
#include "base/template/budget.h"
#include "base/template/value.h"

namespace orch::tmpl {

Value apply_unary(Operator op, const Value& value);
/// Of arithmetic, and of + and * on texts and lists.
Value apply_binary(Operator op, const Value& a, const Value& b, Budget& budget);
/// Of comparisons, `in` and `not in`.
bool apply_comparison(Operator op, const Value& a, const Value& b, Budget& budget);

}  // namespace orch::tmpl
