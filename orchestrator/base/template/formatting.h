// Values put into patterns: `'{:>5}'.format(x)` and `'%5.2f' % x`, as in Python.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/template/arguments.h"
#include "base/template/budget.h"
#include "base/template/value.h"

namespace orch::tmpl {

/// As str.format(). Fields are named or counted; what is inside a value ({0.name}, {0[key]}) is not reached. With
/// `escaping`, of a text that is marked as safe, the values are escaped.
std::string formatted(std::string_view pattern, const Arguments& given, Budget& budget, bool escaping = false);

/// As the operator % of a text: a tuple gives a value for each place, a map those that are named, anything else one.
std::string percent_formatted(std::string_view pattern, const Value& given, Budget& budget, bool escaping = false);

/// As strftime() in the C locale, for the letters that have a meaning without a time zone.
std::string time_text(std::string_view pattern, std::chrono::local_seconds now);

}  // namespace orch::tmpl
