// What a decoder is made of that training changes: everything that its checkpoint has numbers of, but the bias of a
// router's choice, which no gradient reaches. Decoder::trainable() hands it out.
#pragma once

#include <vector>

#include "model/adapter.h"

namespace orch::model {

/// How the ranks that share the layers have something.
enum class Held : std::uint8_t {
  kPart,    ///< each has a part of its own
  kAlike,   ///< all have all of it, and each comes to its whole gradient
  kSummed,  ///< all have all of it, and its gradient is the sum of what they come to
};

/// Matrices decay when they are trained; vectors (norms and biases) do not.
struct Trainable {
  std::vector<Source> stack;            ///< a matrix in the checkpoint, or several of one shape; a vector is a column
  kernels::Weight* weight = nullptr;    ///< that is made of them; null: of a vector
  kernels::Matrix vector{};             ///< fp32, one row
  kernels::Matrix* gradient = nullptr;  ///< where it belongs: a view of all of the stack's rows is to be put there
  Held held = Held::kPart;
};

}  // namespace orch::model
