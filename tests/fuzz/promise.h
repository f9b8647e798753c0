// The promises that targets check.
#pragma once

#include <optional>
#include <string_view>

#include "base/diagnostics.h"
#include "base/yaml.h"

namespace orch::fuzz {

/// As parse_yaml(), with limits that keep one input well under a second.
std::optional<Yaml> parse(std::string_view bytes, Diagnostics& diagnostics);

/// Stops the program when a promise is broken, saying which.
void promise(bool kept, std::string_view what);

/// Every problem has a place and a message that is safe on a terminal: UTF-8 without control characters.
void check_messages(const Diagnostics& diagnostics);

}  // namespace orch::fuzz
