// Names of modules as PEFT's configurations have them: regular expressions, of which this knows what is used there:
// characters, . and \d \w \., classes, groups, alternatives, * + ?, and ^ and $ at the ends.
//
// Holds: a match takes time in proportion to the pattern's size and the square of the name's, whatever the pattern.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace orch::model {

class ModulePattern {
 public:
  /// An error says what is not known of it.
  static Result<ModulePattern> read(std::string_view text);

  /// The whole name, or its end behind a dot: "q_proj" is the end of "model.layers.0.self_attn.q_proj".
  bool ends(std::string_view name) const;

  struct Node;

 private:
  std::shared_ptr<const Node> root_;
  bool begins_ = false;  ///< with ^
};

}  // namespace orch::model
