#include "cluster/detect.h"
#include "promise.h"
#include "shipped.h"
#include "targets.h"

namespace orch::fuzz {

void detect_target(std::string_view bytes) {
  const std::size_t middle = bytes.find('\0');
  cluster::Answers answers;
  answers.sinfo = bytes.substr(0, middle);
  if (middle != std::string_view::npos) answers.config = bytes.substr(middle + 1);
  const auto text = cluster::draft(answers, shipped_catalog());
  if (!text) {
    promise(!text.error().what.empty(), "an error says what");
    return;
  }
  Diagnostics diagnostics;
  const auto root = parse_yaml(*text, "draft.yaml", diagnostics);
  promise(root.has_value(), "a draft is YAML");
  promise(read_clusters(*root, "draft.yaml", shipped_catalog(), diagnostics).size() == 1, "a draft holds a cluster");
  promise(diagnostics.ok(), "a draft is a valid cluster file");
}

}  // namespace orch::fuzz
