// What a template reaches inside a value: `value.name`, `value[key]`, `value[from:to:step]`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/template/budget.h"
#include "base/template/value.h"

namespace orch::tmpl {

/// Undefined when there is none; so are those of item_of().
Value attribute_of(const Value& value, const std::string& name, Budget& budget);
Value item_of(const Value& value, const Value& key, Budget& budget);
/// `a.b.0` of an item, as the filters' argument `attribute` has it.
Value by_path(const Value& item, const Value& path, Budget& budget);

/// Bounds that are left out are the ends of the text or list.
Value slice_of(const Value& value, std::optional<std::int64_t> from, std::optional<std::int64_t> to, std::int64_t step,
               Budget& budget);

}  // namespace orch::tmpl
