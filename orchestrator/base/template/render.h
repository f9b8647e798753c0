// Walks the tree of a template and writes its text.
#pragma once

#include <string>
#include <vector>

#include "base/template/ast.h"
#include "base/template/template.h"

namespace orch::tmpl {

/// Throws a TemplateError.
std::string render_nodes(const std::vector<Node>& nodes, const std::string& file, const Options& options,
                         const Loader& loader, const nlohmann::ordered_json& values);

/// `task.name`, when the expression is just that; else nothing.
std::string name_of(const Expr& expr);

}  // namespace orch::tmpl
