// Short lists as they stand in one column: JSON; nothing at all for an empty one. What is read is the row's next
// column.
#pragma once

#include <string>
#include <vector>

#include "control/need.h"
#include "store/database.h"

namespace orch::store {

std::string list_of(const std::vector<std::string>& texts);
std::vector<std::string> texts_of(Statement& row);

std::string list_of(const std::vector<control::Resources>& rooms);
std::vector<control::Resources> rooms_of(Statement& row);

}  // namespace orch::store
