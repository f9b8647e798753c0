// The linear layers of a checkpoint, by the names that PEFT knows them by, and where a rank's decoder has them.
//
// A projection of the decoder may be several of them (queries, keys and values), and one of them may be several runs of
// rows there (a rank's heads).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/layer.h"

namespace orch::model {

struct Module {
  std::string path;       ///< model.layers.0.self_attn.q_proj
  std::size_t layer = 0;  ///< of the stage
  Place place = Place::kQkv;
  std::int64_t from = 0;      ///< the first of the projection's results that are its
  std::vector<Part> outputs;  ///< which of its outputs they are, in order
  Part inputs;                ///< which of its inputs this rank has
  std::int64_t all_outputs = 0, all_inputs = 0;

  std::int64_t own_outputs() const;
  /// The same for a path, whatever else there is.
  std::uint64_t hash() const;
};

/// Of all layers of the stage, in order. Not among them: experts of which each token has some, and what latent
/// attention makes of compressed keys and values (kv_b_proj), which the decoder has in another form.
std::vector<Module> modules_of(const Sources& sources);

/// The name of a module's tensor in a checkpoint, whatever the decoder makes of it; nothing where there is none.
std::optional<std::string> tensor_of(const std::string& path, const Checkpoint& checkpoint);

}  // namespace orch::model
