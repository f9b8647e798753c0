#include "tuning/kept_run.h"

#include "base/text.h"

namespace orch::tuning {
namespace {

using nlohmann::json;

template <class T>
bool read(const json& from, const char* name, T& to) {
  const auto at = from.find(name);
  if (at == from.end()) return false;
  if constexpr (std::is_same_v<T, bool>) {
    if (!at->is_boolean()) return false;
  } else if constexpr (std::is_integral_v<T>) {
    if (!at->is_number_integer() || *at < 0 || *at > train::kMostSteps) return false;
  } else if (!at->is_number()) {
    return false;
  }
  to = at->get<T>();
  return true;
}

}  // namespace

json json_of(const KeptRun& kept, const train::RunState& state) {
  const train::LearnerBounds& pass = kept.pass;
  return {{"identity", kept.identity},
          {"pass",
           {{"tokens", pass.tokens},
            {"texts", pass.texts},
            {"length", pass.length},
            {"again", pass.again},
            {"tensor", kept.tensor},
            {"copies", kept.copies}}},
          {"seconds", kept.seconds},
          {"tokens", kept.tokens},
          {"updates", state.updates},
          {"plateau", train::json_of(state.plateau)},
          {"stability", train::json_of(state.stability)},
          {"loss_scale", train::json_of(state.loss_scale)}};
}

Result<ReadRun> read_run(const train::CheckpointState& from) {
  const json& run = from.run;
  ReadRun it;
  const auto wrong = [&](const std::string& what) { return Error{"of its run " + what + " cannot be read"}; };
  for (const char* name : {"identity", "pass", "plateau", "stability", "loss_scale"})
    if (!run.contains(name) || !run[name].is_object()) return wrong(quote(name));
  it.kept.identity = run["identity"];
  const json& pass = run["pass"];
  train::LearnerBounds& bounds = it.kept.pass;
  const bool whole = read(pass, "tokens", bounds.tokens) && read(pass, "texts", bounds.texts) &&
                     read(pass, "length", bounds.length) && read(pass, "again", bounds.again) &&
                     read(pass, "tensor", it.kept.tensor) && read(pass, "copies", it.kept.copies);
  if (!whole) return wrong("'pass'");
  it.state.step = from.step;
  if (!read(run, "seconds", it.kept.seconds)) return wrong("'seconds'");
  if (!read(run, "tokens", it.kept.tokens)) return wrong("'tokens'");
  if (!read(run, "updates", it.state.updates)) return wrong("'updates'");
  auto plateau = train::read_plateau_state(run["plateau"]);
  if (!plateau) return plateau.error();
  it.state.plateau = *plateau;
  auto stability = train::read_stability_state(run["stability"]);
  if (!stability) return stability.error();
  it.state.stability = *std::move(stability);
  auto scale = train::read_loss_scale(run["loss_scale"]);
  if (!scale) return scale.error();
  it.state.loss_scale = *scale;
  return it;
}

}  // namespace orch::tuning
