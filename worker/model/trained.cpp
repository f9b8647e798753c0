#include "model/trained.h"

#include <cmath>

#include "base/text.h"

namespace orch::model {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHead = "lm_head.weight";

bool has_room(Stored stored) {
  return stored == Stored::kF64 || stored == Stored::kF32 || stored == Stored::kF16 || stored == Stored::kBf16;
}

/// One tensor's numbers instead of the base's.
NewTensor put_in_place(const std::string& name, std::span<const float> numbers, Stored stored) {
  return {stored, 1, [name, numbers](std::int64_t first, std::span<double> out) -> Result<std::monostate> {
            const auto from = numbers.subspan(static_cast<std::size_t>(first), out.size());
            for (std::size_t i = 0; i < out.size(); ++i) {
              if (!std::isfinite(from[i])) return Error{"tensor " + shown(name) + " has numbers that are not finite"};
              out[i] = static_cast<double>(from[i]);
            }
            return std::monostate{};
          }};
}

/// By the base's names.
Result<NewTensors> new_tensors(const Architecture& it, const Checkpoint& checkpoint, const WholeTensors& trained,
                               std::optional<Stored> stored) {
  const auto sources = find_sources(it, checkpoint, {});
  if (!sources) return sources.error();
  if (auto can = check_trainable(it, *sources); !can) return can.error();
  NewTensors tensors;
  const auto add = [&](const std::string& name, std::span<const float> numbers) {
    tensors[name] = put_in_place(name, numbers, stored.value_or(checkpoint.find(name)->stored));
  };
  for (const Source* source : parameter_sources(it, *sources))
    for (const Run& run : source->runs) {
      const auto numbers = trained.find(run.name);
      if (numbers == trained.end()) return Error{"tensor " + shown(run.name) + " is not among what was trained"};
      if (static_cast<std::int64_t>(numbers->second.size()) != run.rows * run.cols)
        return Error{"tensor " + shown(run.name) + " is " + shape_text(run.tensor->shape) +
                     ", and what was trained has " +
                     counted(static_cast<std::int64_t>(numbers->second.size()), "number")};
      if (!tensors.contains(run.name)) add(run.name, numbers->second);
    }
  for (const auto& [name, numbers] : trained)
    if (!tensors.contains(name)) return Error{"there is no parameter " + shown(name) + ", which was trained"};
  // Some checkpoints of tied models have the embedding twice.
  const std::string& embedding = sources->embedding.runs.front().name;
  const Tensor* head = it.tied && embedding != kHead ? checkpoint.find(kHead) : nullptr;
  if (head && head->shape == checkpoint.find(embedding)->shape) add(kHead, trained.find(embedding)->second);
  return tensors;
}

}  // namespace

Result<bool> check_trainable(const Architecture& it, const Sources& sources) {
  for (const Source* source : parameter_sources(it, sources))
    for (const Run& run : source->runs)
      if (run.tensor && (run.scales || !has_room(run.tensor->stored)))
        return Error{
            "tensor " + shown(run.name) + " is stored as " + std::string(name_of(run.tensor->stored)) +
            ", where what was trained has no room; train the checkpoint in 16 or 32 bits that it was made from"};
  return true;
}

Result<Rewritten> write_trained(const fs::path& base, const WholeTensors& trained, const fs::path& out,
                                std::optional<DType> dtype) {
  const RewritingWords words{"trained model", "trained tensors", "run"};
  const auto stored = stored_as(dtype, words);
  if (!stored) return stored.error();
  const auto folder = new_folder(out, words);
  if (!folder) return folder.error();
  const auto it = open_architecture(base);
  if (!it) return it.error();
  const auto checkpoint = Checkpoint::open(base);
  if (!checkpoint) return checkpoint.error();
  const auto tensors = new_tensors(*it, *checkpoint, trained, *stored);
  if (!tensors) return Error{base.string() + ": " + tensors.error().what};
  return rewrite(base, *tensors, *folder, words);
}

}  // namespace orch::model
