// Lines of comma-separated values, as RFC 4180 has them.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace orch::report {

void write_csv_line(std::ostream& out, const std::vector<std::string>& fields);

}  // namespace orch::report
