#include <cmath>
#include <cstring>
#include <vector>

#include "base/text.h"
#include "promise.h"
#include "targets.h"
#include "train/checkpoint.h"
#include "train/generation.h"

namespace orch::fuzz {
namespace {

void check_state(std::string_view text) {
  const auto state = train::parse_state(text);
  if (!state) {
    promise(is_utf8(state.error().what) && state.error().what.starts_with("state.json "), "a refusal says why");
    return;
  }
  promise(state->step >= 0 && state->step <= train::kMostSteps, "steps are bounded");
  promise(!state->loss || std::isfinite(*state->loss), "a loss is a number");
  promise(state->run.is_object(), "a run goes on with an object");
  promise(state->files.contains("state.safetensors"), "the numbers are named");
  for (const auto& [name, file] : state->files)
    promise(name == "state.safetensors" || name == "adapter/adapter_config.json" ||
                name == "adapter/adapter_model.safetensors",
            "no name leads out of the folder");
  const auto again = train::parse_state(train::text_of(*state));
  promise(again.ok() && again->step == state->step && again->loss == state->loss && again->run == state->run &&
              again->files == state->files,
          "what is read is written the same");
}

/// What is kept of a generation: whole, or refused.
void check_generation(std::string_view bytes) {
  const auto generated = train::unpack_generation(bytes);
  if (!generated) {
    promise(is_utf8(generated.error().what) && !generated.error().what.empty(), "a refusal says why");
    return;
  }
  std::size_t size = 0;
  for (const train::Generated& it : *generated) {
    promise(it.number >= 0 && it.tokens.size() == it.old.size(), "each token has its log-probability");
    size += train::pack_generation(std::span(&it, 1)).size();
  }
  promise(size == bytes.size(), "nothing is left over");
}

/// A file of tensors with that header, and some numbers behind it.
void check_numbers(std::string_view header) {
  constexpr std::size_t kNumbers = 4096;
  const std::uint64_t length = header.size();
  std::vector<std::byte> file(sizeof length + header.size() + kNumbers);
  std::memcpy(file.data(), &length, sizeof length);
  std::memcpy(file.data() + sizeof length, header.data(), header.size());
  const auto tensors = model::Safetensors::parse(file, "state.safetensors");
  if (!tensors) return;
  const auto trained = train::trained_of(*tensors);
  if (!trained) {
    promise(is_utf8(trained.error().what) && !trained.error().what.empty(), "a refusal says why");
    return;
  }
  promise(!trained->empty(), "something is trained");
  float sum = 0;
  for (const auto& [name, matrix] : *trained) {
    promise(!name.empty() && matrix.rows > 0 && matrix.cols > 0, "matrices have names and sizes");
    const auto count = static_cast<std::size_t>(matrix.rows * matrix.cols);
    for (const auto row : {matrix.values, matrix.first, matrix.second})
      promise(row.size() == count, "a row has all of its matrix");
    promise(matrix.average.empty() || matrix.average.size() == count, "an average is whole, or none");
    for (const auto row : {matrix.values, matrix.first, matrix.second, matrix.average})
      for (const float number : row) sum += number;
  }
  promise(sum == 0, "numbers lie behind the header");
}

}  // namespace

void checkpoint_target(std::string_view bytes) {
  constexpr std::string_view kCut = "\n---8<---\n";
  const std::size_t cut = bytes.find(kCut);
  const std::string_view state = bytes.substr(0, cut);
  check_state(state);
  check_state(train::sealed(state));  // else hardly any would have the right checksum
  check_generation(bytes);
  if (cut != std::string_view::npos) check_numbers(bytes.substr(cut + kCut.size()));
}

}  // namespace orch::fuzz
