// Reads a script along before it is rendered, so that a value at a place where none can be is found at once, whatever
// branch it stands in. The rendering reads along once more, since only it knows what is really printed.
#pragma once

#include <string>
#include <vector>

#include "base/template/ast.h"
#include "base/template/template.h"

namespace orch::tmpl {

/// Throws a TemplateError. Reads what the script includes into its nodes.
void check_script(std::vector<Node>& nodes, const std::string& file, const Options& options, const Loader& loader);

}  // namespace orch::tmpl
