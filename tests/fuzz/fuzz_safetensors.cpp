#include "model/checkpoint.h"
#include "model/safetensors.h"
#include "promise.h"
#include "targets.h"

namespace orch::fuzz {

void safetensors_target(std::string_view bytes) {
  const auto file = std::as_bytes(std::span(bytes.data(), bytes.size()));
  const auto read = model::Safetensors::parse(file, "weights.safetensors");
  if (!read) {
    promise(!read.error().what.empty(), "a refusal says why");
    return;
  }
  std::size_t total = 0;
  for (const auto& [name, tensor] : read->tensors()) {
    const std::int64_t count = tensor.count();
    promise(count >= 0, "sizes do not overflow");
    promise(tensor.bytes.size() == static_cast<std::size_t>(count) * model::bytes_of(tensor.stored),
            "a tensor has as many bytes as its shape and type say");
    promise(tensor.bytes.empty() || (tensor.bytes.data() >= file.data() &&
                                     tensor.bytes.data() + tensor.bytes.size() <= file.data() + file.size()),
            "a tensor lies in its file");
    total += tensor.bytes.size();
    std::vector<float> numbers(static_cast<std::size_t>(count));
    model::read_numbers(tensor, 0, count, numbers.data());
  }
  promise(total <= file.size(), "tensors do not overlap");
}

}  // namespace orch::fuzz
