#include "base/template/template.h"

#include <algorithm>

#include "base/template/parser.h"
#include "base/template/renderer.h"
#include "base/template/script_check.h"

namespace orch::tmpl {
namespace {

constexpr std::size_t kMostTemplate = std::size_t{16} << 20;  // bytes

}  // namespace

struct Template::Parsed {
  std::vector<Node> nodes;
  std::string file;
  Options options;
  Loader loader;
};

Options shell_options() {
  Options options;
  options.trim_blocks = options.lstrip_blocks = options.keep_trailing_newline = true;
  options.html_json = false;
  options.escape = Options::Escape::kShell;
  return options;
}

Options chat_options() {
  Options options;
  options.trim_blocks = options.lstrip_blocks = options.chat = true;
  options.strict = options.html_json = false;
  return options;
}

Result<Template, TemplateError> Template::parse(std::string_view text, std::string file, Options options,
                                                Loader loader) {
  options.most_depth = std::clamp(options.most_depth, 1, 200);
  if (options.escape == Options::Escape::kShell) options.strict = true;
  auto parsed = std::make_shared<Parsed>();
  parsed->file = std::move(file);
  parsed->options = options;
  parsed->loader = std::move(loader);
  try {
    if (text.size() > kMostTemplate) throw TemplateError{parsed->file, 0, 0, "a template of more than 16 MiB"};
    parsed->nodes = parse_nodes(text, parsed->file, options);
    if (options.escape == Options::Escape::kShell)
      check_script(parsed->nodes, parsed->file, parsed->options, parsed->loader);
  } catch (const TemplateError& error) {
    return error;
  }
  return Template(std::move(parsed));
}

Result<std::string, TemplateError> Template::render(const nlohmann::ordered_json& values) const {
  auto rendered = render_marked(values);
  if (!rendered) return rendered.error();
  return std::move(rendered->text);
}

Result<Rendered, TemplateError> Template::render_marked(const nlohmann::ordered_json& values, Now now) const {
  try {
    return Renderer(parsed_->file, parsed_->options, parsed_->loader, now).run(parsed_->nodes, values);
  } catch (const TemplateError& error) {
    return error;
  }
}

}  // namespace orch::tmpl
