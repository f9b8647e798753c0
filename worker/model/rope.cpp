#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/text.h"

namespace orch::model {
namespace {

constexpr std::int64_t kMostContext = std::int64_t{1} << 30;

std::vector<float> plain(double theta, int dims) {
  std::vector<float> frequencies;
  for (int i = 0; i < dims; i += 2)
    frequencies.push_back(static_cast<float>(1 / std::pow(theta, static_cast<double>(i) / dims)));
  return frequencies;
}

/// Llama 3.1: long wavelengths are stretched, short ones are not, and in between it goes over smoothly.
void stretch_long_waves(Config& scaling, Rope& rope, std::int64_t context) {
  const double factor = scaling.number("factor", 8);
  const double low = scaling.number("low_freq_factor", 1), high = scaling.number("high_freq_factor", 4);
  const auto trained =
      static_cast<double>(scaling.integer("original_max_position_embeddings", context, 1, kMostContext));
  if (!(factor > 0) || !(high > low)) return scaling.refuse("factors are not in order");
  for (float& frequency : rope.frequencies) {
    const double wave = 2 * std::numbers::pi / static_cast<double>(frequency);
    if (wave > trained / low) {
      frequency = static_cast<float>(static_cast<double>(frequency) / factor);
    } else if (wave >= trained / high) {
      const double smooth = (trained / wave - low) / (high - low);
      frequency = static_cast<float>((1 - smooth) * static_cast<double>(frequency) / factor +
                                     smooth * static_cast<double>(frequency));
    }
  }
}

/// YaRN: components that turn often stay, those that turn less than once are stretched, a ramp lies between.
void yarn(Config& scaling, Rope& rope, double theta, std::int64_t context) {
  const auto trained =
      static_cast<double>(scaling.integer("original_max_position_embeddings", context, 1, kMostContext));
  const double factor = scaling.number("factor", static_cast<double>(context) / trained);
  const double fast = scaling.number("beta_fast", 32), slow = scaling.number("beta_slow", 1);
  if (!(factor > 0) || !(fast > 0) || !(slow > 0) || !(theta > 1)) return scaling.refuse("factors must be above 0");
  // The component that turns so many times over the trained length.
  const auto component = [&](double turns) {
    return rope.dims * std::log(trained / (turns * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  double low = component(fast), high = component(slow);
  if (scaling.flag("truncate", true)) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, rope.dims - 1.0);
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < rope.frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const auto frequency = static_cast<double>(rope.frequencies[i]);
    rope.frequencies[i] = static_cast<float>(frequency / factor * ramp + frequency * (1 - ramp));
  }
  const double mscale = scaling.number("mscale", 0), all = scaling.number("mscale_all_dim", 0);
  const double otherwise =
      mscale != 0 && all != 0 ? yarn_scale(factor, mscale) / yarn_scale(factor, all) : yarn_scale(factor, 1);
  rope.scale = static_cast<float>(scaling.number("attention_factor", otherwise));
}

/// Phi-3: a factor for each frequency, one list for short inputs and one for long ones.
void two_lists(Config& config, Config& scaling, Rope& rope, std::int64_t context) {
  const std::vector<double> brief = scaling.numbers("short_factor"), lengthy = scaling.numbers("long_factor");
  if (brief.empty() || brief.size() != rope.frequencies.size() || lengthy.size() != brief.size())
    return scaling.refuse("short_factor and long_factor must have a number for each of the " +
                          std::to_string(rope.frequencies.size()) + " pairs that are turned");
  if (std::min(*std::min_element(brief.begin(), brief.end()), *std::min_element(lengthy.begin(), lengthy.end())) <= 0)
    return scaling.refuse("factors must be above 0");
  const std::int64_t own = scaling.integer("original_max_position_embeddings", context, 1, kMostContext);
  rope.trained = config.integer("original_max_position_embeddings", own, 1, kMostContext);
  const double factor = static_cast<double>(context) / static_cast<double>(rope.trained);
  const double otherwise =
      factor > 1 ? std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(rope.trained))) : 1.0;
  rope.scale = rope.long_scale = static_cast<float>(scaling.number("attention_factor", otherwise));
  rope.long_frequencies = rope.frequencies;
  for (std::size_t i = 0; i < brief.size(); ++i) {
    rope.frequencies[i] = static_cast<float>(static_cast<double>(rope.frequencies[i]) / brief[i]);
    rope.long_frequencies[i] = static_cast<float>(static_cast<double>(rope.long_frequencies[i]) / lengthy[i]);
  }
}

}  // namespace

double yarn_scale(double factor, double weight) { return factor > 1 ? 0.1 * weight * std::log(factor) + 1 : 1; }

float dynamic_base(const Rope& rope, std::int64_t length) {
  if (rope.dynamic == 0 || length <= rope.trained) return 1;
  const double longer = static_cast<double>(length) / static_cast<double>(rope.trained);
  const double dims = rope.dims;
  return static_cast<float>(std::pow(rope.dynamic * longer - (rope.dynamic - 1), dims / (dims - 2)));
}

bool is_lengthy(const Rope& rope, std::int64_t length) {
  return !rope.long_frequencies.empty() && length > rope.trained;
}

Rope read_rope(Config& config, int dims, std::int64_t context, double otherwise_theta) {
  Rope rope;
  // Newer files say all of it in rope_parameters.
  Config scaling = config.part(config.has("rope_parameters") ? "rope_parameters" : "rope_scaling");
  const double theta = scaling.number("rope_theta", config.number("rope_theta", otherwise_theta));
  rope.dims = dims;
  if (!(theta > 0) || dims % 2 != 0) {
    config.refuse("'rope_theta' must be above 0, and the number of components that are turned even");
    return rope;
  }
  rope.frequencies = plain(theta, dims);
  const std::string kind = scaling.text("rope_type", scaling.text("type", "default"));
  if (kind == "linear") {
    const double factor = scaling.number("factor", 1);
    if (!(factor > 0)) scaling.refuse("'factor' must be above 0");
    for (float& frequency : rope.frequencies) frequency = static_cast<float>(static_cast<double>(frequency) / factor);
  } else if (kind == "dynamic") {
    rope.dynamic = scaling.number("factor", 1);
    rope.trained = context;
    if (!(rope.dynamic >= 1) || dims <= 2) scaling.refuse("'factor' must be at least 1");
  } else if (kind == "llama3") {
    stretch_long_waves(scaling, rope, context);
  } else if (kind == "yarn") {
    yarn(scaling, rope, theta, context);
  } else if (kind == "longrope" || kind == "su") {
    two_lists(config, scaling, rope, context);
  } else if (kind != "default" && kind != "mrope") {
    scaling.refuse("the kind " + quote(kind) +
                   " is not known; known are default, linear, dynamic, llama3, yarn, longrope");
  }
  const auto finite = [](const std::vector<float>& list) {
    return std::all_of(list.begin(), list.end(), [](float it) { return std::isfinite(it); });
  };
  if (!finite(rope.frequencies) || !finite(rope.long_frequencies) || !finite({rope.scale, rope.long_scale}))
    scaling.refuse("its numbers make frequencies that are out of bounds");
  config.take_problem(scaling);
  return rope;
}

}  // namespace orch::model
