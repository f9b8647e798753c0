// Texts through a decoder and back: what the model makes of them, and how what is trained would have to change.
//
// Holds:
//  - All of the backend's memory is had when it is made. What does not fit is refused then, and so is a pass that is
//    larger than it was made for.
//  - What is dropped of a text depends on the key and the text's own name, not on which rank or pass has it.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "infer/arena.h"
#include "model/training_pass.h"
#include "train/parameters.h"
#include "train/sample.h"

namespace orch::train {

/// A text of a pass.
struct Lesson {
  const Sample* sample = nullptr;
  std::int64_t name = 0;  ///< its own among those of a step: what is dropped depends on it
};

/// What the model makes of a text's trained tokens, and how the loss changes with each: for an objective to fill in.
struct Outcome {
  std::span<const float> logprobs;
  std::span<float> derivatives;
};
/// Of all texts of a pass, in their order.
using Judge = std::function<void(std::span<const Outcome>)>;

/// The largest pass.
struct LearnerBounds {
  std::int64_t tokens = 0;
  std::int64_t texts = 0;
  std::int64_t length = 0;  ///< of one text
  bool again = false;       ///< layers are computed again on the way back
  float dropout = 0;
};

/// Where a reference is asked of a model that is itself trained.
constexpr std::string_view kNoReference =
    "the model itself is trained, so nothing is left of it to be a reference (DPO, GRPO with a beta): train an "
    "adapter, or without a reference";

class Learner {
 public:
  static Result<std::unique_ptr<Learner>> make(kernels::Backend& backend, const model::Decoder& decoder,
                                               Parameters& parameters, const LearnerBounds& bounds);
  ~Learner();

  /// Adds to the parameters' gradients `scale` times what the judge says. `key`: of what is dropped. `temperature`:
  /// that logits are divided by before they are log-probabilities.
  Result<bool> teach(std::span<const Lesson> lessons, std::uint64_t key, double scale, const Judge& judge,
                     float temperature = 1);
  /// The log-probabilities of each text's trained tokens, nothing dropped. Without the adapter: of the model itself,
  /// which is an error where that is what is trained.
  Result<std::vector<std::vector<float>>> look(std::span<const Lesson> lessons, bool with_adapter,
                                               float temperature = 1);

  kernels::Stream& stream() { return *stream_; }
  /// Until all that was enqueued is done, on all ranks that share the layers.
  Result<bool> settle();

 private:
  Learner(kernels::Backend& backend, const model::Decoder& decoder, Parameters& parameters, const LearnerBounds& bounds)
      : backend_(backend),
        decoder_(decoder),
        parameters_(parameters),
        bounds_(bounds),
        stream_(backend.make_stream()) {}
  struct Given;
  Result<bool> allocate();
  Result<bool> check(std::span<const Lesson> lessons) const;
  /// Enqueues a pass forth; the log-probabilities are in floats_ when the stream has been waited for. `back`: a way
  /// back follows.
  Given forth(std::span<const Lesson> lessons, bool with_adapter, float temperature, std::uint64_t key, bool drops,
              bool back);
  /// Of texts of one pass: those that are longer than the model was trained on turn otherwise, and go by themselves.
  std::vector<std::vector<std::size_t>> parts_of(std::span<const Lesson> lessons) const;

  kernels::Backend& backend_;
  const model::Decoder& decoder_;
  Parameters& parameters_;
  const LearnerBounds bounds_;
  std::unique_ptr<kernels::Stream> stream_;
  std::unique_ptr<kernels::Buffer> memory_, int_memory_, float_memory_;
  std::unique_ptr<model::TrainingPass> pass_;
  infer::Arena<std::int32_t> ints_;
  infer::Arena<float> floats_;
};

}  // namespace orch::train
