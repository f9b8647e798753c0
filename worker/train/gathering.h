// What is trained, in full: tensor ranks have parts of its matrices each, checkpoints and adapters all of them.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/transport.h"
#include "model/trained.h"
#include "train/checkpoint.h"
#include "train/parameters.h"
#include "train/run.h"

namespace orch::train {

class Gathering {
 public:
  /// Of the ranks that share the layers, all of which call it; pieces and ranks must outlive it.
  static Result<Gathering> make(comm::Transport& ranks, std::span<const Piece> pieces);

  /// The matrices of a state, by name. Every rank calls it; on all but the first there is nothing in it.
  Result<std::map<std::string, Trained>> whole(const RunState& state) const;
  /// This rank's part of them, into the state's rows. An error names what is missing or of another size.
  Result<bool> take_part(const std::map<std::string, TrainedView>& whole, bool average, RunState& state) const;

 private:
  Gathering(comm::Transport& ranks, std::span<const Piece> pieces) : ranks_(ranks), pieces_(pieces) {}

  comm::Transport& ranks_;
  std::span<const Piece> pieces_;
  std::vector<std::vector<Piece>> others_;  ///< of the first rank: the pieces of ranks 1, 2, …
};

/// A model's weights, of what was trained in full; of their average, where there is one and it is wanted.
model::WholeTensors tensors_of(const std::map<std::string, Trained>& whole, bool average);

/// An adapter as PEFT has it, of its matrices in full; of their average, where there is one and it is wanted.
/// `experts`: that a layer of the model has.
model::PeftAdapter adapter_of(const std::map<std::string, Trained>& whole, bool average, const AdapterRules& rules,
                              double dropout, const std::string& base, std::int64_t experts = 0);

}  // namespace orch::train
