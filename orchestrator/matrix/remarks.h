// What a matrix says that does nothing, or not what it seems to, in cells that run all the same: it becomes a note.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "matrix/axes.h"

namespace orch::matrix {

/// A sentence about all cells of a pair, or about those with some values of an axis.
struct Remark {
  const Axis* axis = nullptr;  ///< null: about all
  std::vector<bool> about;     ///< which values of the axis
  std::string line;            ///< a note of the expansion

  bool is_about(std::size_t combination) const { return !axis || about[axis->index(combination)]; }
};

/// A stage as remarks on its cells see it.
struct StageFacts {
  const Stage& stage;
  std::string words;            ///< `the matrix`, or `stage 'tune'`
  const Picks& picks;           ///< all that it picks
  std::set<std::string> named;  ///< placeholders of its command and its variables
};

/// What is to be said of the pair's cells, were they made.
std::vector<Remark> remarks_on(const Pair& pair, const StageFacts& facts, const Block& block);

}  // namespace orch::matrix
