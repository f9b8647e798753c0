// Many texts through one decoder, in steps: continuations are scored, prompts are continued.
//
// Holds:
//  - An answer depends on its request alone, bit for bit: not on the others, their order, the steps, what they share,
//  or
//    how much memory there is.
//  - Ranks that share the decoder are asked the same in the same order, and all get all answers.
//  - What does not fit into the memory of one rank is tried by all of them in smaller steps and with fewer pages before
//    it is an error. Once steps have begun nothing more is allocated for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "comm/communicator.h"
#include "infer/request.h"
#include "kernels/backend.h"
#include "model/decoder.h"

namespace orch::infer {

struct EngineRules {
  std::int64_t step_tokens = 512;    ///< at most, of one step
  std::int64_t step_sequences = 64;  ///< likewise
  std::size_t cache_bytes = std::size_t{1} << 30;
  DType cache_dtype = DType::kFp32;
  std::int64_t context = 0;  ///< tokens that the model is shown at most; 0: as many as its configuration says
  /// What several texts begin with is computed once; else, to measure that, again for each.
  bool shares_prefixes = true;
};

/// What was done since the engine was made.
struct EngineCounts {
  std::int64_t steps = 0;
  std::int64_t tokens = 0;        ///< that went through the decoder
  std::int64_t tokens_asked = 0;  ///< that would have without shared prefixes
  std::int64_t tokens_written = 0;
};

/// Of a layer with experts, how often each of them was chosen for a token.
struct ChosenExperts {
  std::size_t layer = 0;  ///< in the whole model
  std::vector<std::int64_t> times;
};

class Engine {
 public:
  /// `pipeline`: holds the stages together that have the layers one after another; null when there is one.
  Engine(kernels::Backend& backend, model::Decoder& decoder, const EngineRules& rules,
         comm::Communicator* pipeline = nullptr);
  ~Engine();

  /// What is asked from now on is answered with it on top of the model's weights; null: without. It stays until another
  /// is named.
  void use(const model::Adapter* adapter) { adapter_ = adapter; }

  Result<std::vector<Scored>> score(std::span<const ScoreRequest> requests);
  Result<std::vector<Written>> write(std::span<const WriteRequest> requests, const IsOver& is_over);

  /// Since this was last asked. Nothing where the model has no experts.
  Result<std::vector<ChosenExperts>> take_chosen_experts();

  /// What went wrong between the ranks, if anything did: then nothing more can be computed.
  Result<bool> joined() const;
  const EngineCounts& counts() const { return counts_; }
  /// Of the KV cache as it is now.
  std::size_t cache_bytes() const;

 private:
  class Memory;
  class Run;
  struct Turned;

  /// Again with smaller steps while `run` says that it was full.
  Result<bool> attempt(const std::function<Result<bool>(bool& full)>& run);
  Result<bool> check(std::span<const std::int32_t> tokens, std::size_t request) const;
  Result<bool> wait();
  /// Room for what ranks tell each other, had before all else so that they can also say that there is no more.
  Result<bool> prepare_to_tell();
  /// The most of what each rank that shares the model says, on all of them. Ranks that are only planned say 0.
  Result<std::int32_t> most_of_all(std::int32_t own);
  /// bytes, a multiple of four ← those of one stage.
  Result<bool> share(std::span<std::byte> bytes, int from);
  template <class T>
  Result<bool> share(std::vector<T>& values, int from) {
    static_assert(sizeof(T) % sizeof(float) == 0 && std::is_trivially_copyable_v<T>);
    return share(std::as_writable_bytes(std::span(values)), from);
  }
  /// Every stage must know what the last one found.
  template <class T>
  Result<bool> share(std::vector<T>& values) {
    return share(values, pipeline_ ? pipeline_->ranks() - 1 : 0);
  }

  kernels::Backend& backend_;
  model::Decoder& decoder_;
  comm::Communicator* const pipeline_;
  EngineRules rules_;
  const model::Adapter* adapter_ = nullptr;
  EngineCounts counts_;
  std::unique_ptr<kernels::Stream> stream_;
  std::unique_ptr<kernels::Buffer> told_;
  std::unique_ptr<Memory> memory_;
};

}  // namespace orch::infer
