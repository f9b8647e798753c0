// The commands of a matrix: whether they run anywhere, and in which image.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

#include "matrix/axes.h"
#include "matrix/expand.h"

namespace orch::matrix {

/// A command beside cells that all run on something else was meant to be run: that is an error.
class CommandsUsed {
 public:
  /// A block of a stage that has a command.
  void add(const Stage& stage, const Block& block);

  /// A block of a stage that says how lm-evaluation-harness is run.
  void add_harness(const Stage& stage, const Block& block);

  /// What is to be said of a stage whose engines were chosen so that the command runs some of its models and not the
  /// others.
  std::optional<std::string> mixed(const Stage& stage) const;

  /// An error for each command, and each way of running the harness, that no stage uses; one that several stages
  /// inherit is one.
  void report(Diagnostics& diagnostics) const;

 private:
  struct Use {
    bool runs = false;
    std::set<std::string> others;  // engines of the cells that it does not run
  };
  std::map<Place, Use> uses_, harness_;    // by where the command, or the key `lm_eval`, stands
  std::map<std::string, Use> by_default_;  // by stage: of the engines that were not said
};

/// The image of commands that do not say theirs. It is part of their keys, so it must be the same wherever they run.
struct Image {
  std::optional<std::string> image;
  std::string doubt;  ///< why it cannot be said, as the end of a sentence; empty: it can
};
Image settle_image(const Submit& of_matrix, const ExpandOptions& options);

}  // namespace orch::matrix
