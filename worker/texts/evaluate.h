// A task's questions through a model: each question's requests, the model's answers, the score that they make.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "eval/evaluation.h"
#include "texts/text_engine.h"

namespace orch::texts {

/// Answers of a model, in the order of the requests. A request's answer depends on it alone.
Result<std::vector<eval::Answer>> answer(TextEngine& engine, std::span<const eval::Request> requests);

/// Told of samples as soon as they are scored. An error ends the run.
using OnScored = std::function<Result<bool>(std::span<const eval::SampleScore>)>;

/// Asks and scores samples, so many at a time that what their questions begin with is read seldom.
Result<bool> evaluate(TextEngine& engine, const eval::Evaluation& evaluation, std::span<const std::uint64_t> samples,
                      const OnScored& on_scored);

}  // namespace orch::texts
