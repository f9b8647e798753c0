// A checkpoint in a backend's memory, and sequences that grow in it step by step: the engine's part of a forward pass,
// as short as it can be.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cpu/backend.h"
#include "kernels/device.h"
#include "model/decoder.h"

namespace orch::model {

using Logits = std::vector<std::vector<float>>;  ///< of each token, in order

class Runner {
 public:
  /// Throws what went wrong, as a text. `head_bias`: as no family has it.
  explicit Runner(const std::filesystem::path& folder, DType dtype = DType::kFp32, const char* config = "config.json",
                  std::unique_ptr<kernels::Backend> backend = kernels::make_cpu_backend({2, 0, {}}),
                  bool head_bias = false);

  const Architecture& architecture() const { return it_; }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  const Sources& sources() const { return sources_; }
  const Decoder& decoder() const { return *decoder_; }
  kernels::Backend& backend() { return *backend_; }

  const Adapter* adapter = nullptr;  ///< of all steps from now on

 private:
  friend class Sequences;
  DType dtype_;
  Architecture it_;
  Checkpoint checkpoint_;
  Sources sources_;
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<Decoder> decoder_;
};

/// Some sequences and their KV cache.
class Sequences {
 public:
  /// A piece of a page, and the tokens that a step adds to a sequence.
  struct Cut {
    std::int32_t first = 0, count = kernels::kPageTokens;
  };
  struct Addition {
    std::size_t sequence = 0;
    std::vector<int> ids;
  };

  /// `cuts`: the pieces that every sequence's cache is made of, over and over.
  explicit Sequences(Runner& runner, std::vector<Cut> cuts = {{}});

  /// The number of a new one, whose prompt has so many tokens.
  std::size_t open(std::size_t prompt);
  /// One step; the logits of all that was added, in order.
  Logits step(const std::vector<Addition>& additions);
  /// log p of each target, and the best token, by the op that keeps no logits.
  struct Scored {
    std::vector<float> logprobs;
    std::vector<int> best;
    bool operator==(const Scored&) const = default;
  };
  /// One step of one sequence, and what is known of its last rows, one for each target.
  Scored score(std::size_t sequence, const std::vector<int>& ids, const std::vector<int>& targets);

 private:
  struct Sequence {
    std::size_t prompt = 0;
    std::int32_t length = 0;
    std::vector<std::int32_t> table;  ///< triples (page, first slot, count)
    std::int32_t room = 0;            ///< tokens that the table has room for
  };
  /// Enqueued on the device's stream.
  struct Hidden {
    kernels::test::Device device;
    kernels::Matrix matrix;
    std::span<std::byte> workspace;
  };
  Hidden forward(const std::vector<Addition>& additions);
  std::int32_t slot_of(Sequence& sequence, std::int32_t position);

  Runner& runner_;
  const std::vector<Cut> cuts_;
  std::vector<Sequence> sequences_;
  std::vector<std::unique_ptr<kernels::Buffer>> held_;
  std::vector<kernels::KvCache> caches_;
  std::int32_t pages_ = 0;
};

/// All of it in one step.
Logits logits_of(Runner& runner, const std::vector<int>& ids);

struct Greedy {
  std::vector<int> ids;
  std::vector<float> last_logits;  ///< those of which the last one was chosen
};
Greedy continue_greedily(Runner& runner, const std::vector<int>& prompt, std::size_t count);

}  // namespace orch::model
