#include "model/checkpoint.h"

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "kernels/number.h"

namespace orch::model {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uintmax_t kMostIndex = 100'000'000;

/// The files that an index names; every one lies in the folder itself.
Result<std::set<std::string>> files_of(const fs::path& index) {
  std::error_code error;
  if (fs::file_size(index, error) > kMostIndex || error) return Error{index.string() + ": cannot be read"};
  std::ifstream in(index);
  const json root = json::parse(in, nullptr, false);
  if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object())
    return Error{index.string() + ": has no weight_map from tensors to files"};
  std::set<std::string> files;
  for (const auto& [tensor, file] : root["weight_map"].items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || name.find('/') != std::string::npos || name == "..")
      return Error{index.string() + ": tensor " + shown(tensor) + " is not in a file of this folder"};
    files.insert(name);
  }
  return files;
}

template <class T>
void read_as(const Tensor& tensor, std::int64_t from, std::int64_t count, float* out) {
  const std::byte* at = tensor.bytes.data() + static_cast<std::size_t>(from) * sizeof(T);
  for (std::int64_t i = 0; i < count; ++i, at += sizeof(T)) {
    T value;  // a file's numbers are aligned to nothing
    std::memcpy(&value, at, sizeof value);
    if constexpr (std::is_arithmetic_v<T>)
      out[i] = static_cast<float>(value);
    else
      out[i] = kernels::to_float(value);
  }
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const fs::path& folder) {
  const fs::path whole = folder / "model.safetensors", index = folder / "model.safetensors.index.json";
  std::vector<fs::path> paths;
  std::error_code error;
  if (fs::exists(whole, error)) {
    paths.push_back(whole);
  } else if (fs::exists(index, error)) {
    auto files = files_of(index);
    if (!files) return files.error();
    for (const std::string& file : *files) paths.push_back(folder / file);
  } else if (fs::exists(folder / "pytorch_model.bin", error) ||
             fs::exists(folder / "pytorch_model.bin.index.json", error)) {
    return Error{folder.string() +
                 ": has its weights as pytorch_model.bin, which runs code when it is read; convert them to "
                 "safetensors (transformers: save_pretrained(..., safe_serialization=True))"};
  } else {
    return Error{folder.string() + ": has neither model.safetensors nor model.safetensors.index.json"};
  }
  Checkpoint checkpoint;
  for (const fs::path& path : paths) {
    auto file = Safetensors::open(path);
    if (!file) return file.error();
    for (const auto& [name, tensor] : file->tensors())
      if (!checkpoint.tensors_.emplace(name, tensor).second)
        return Error{path.string() + ": tensor " + shown(name) + " is in another file too"};
    checkpoint.files_.push_back(*std::move(file));
  }
  return checkpoint;
}

const Tensor* Checkpoint::find(std::string_view name) const {
  const auto at = tensors_.find(name);
  return at == tensors_.end() ? nullptr : &at->second;
}

void read_numbers(const Tensor& tensor, std::int64_t from, std::int64_t count, float* out) {
  switch (tensor.stored) {
    case Stored::kF64:
      return read_as<double>(tensor, from, count, out);
    case Stored::kF32:
      return read_as<float>(tensor, from, count, out);
    case Stored::kF16:
      return read_as<kernels::Fp16>(tensor, from, count, out);
    case Stored::kBf16:
      return read_as<kernels::Bf16>(tensor, from, count, out);
    case Stored::kF8E4M3:
      return read_as<kernels::Fp8>(tensor, from, count, out);
    case Stored::kF8E5M2: {
      // The upper half of an fp16.
      for (std::int64_t i = 0; i < count; ++i)
        out[i] = kernels::to_float(kernels::Fp16{
            static_cast<std::uint16_t>(std::to_integer<int>(tensor.bytes[static_cast<std::size_t>(from + i)]) << 8)});
      return;
    }
    case Stored::kI64:
      return read_as<std::int64_t>(tensor, from, count, out);
    case Stored::kI32:
      return read_as<std::int32_t>(tensor, from, count, out);
    case Stored::kI16:
      return read_as<std::int16_t>(tensor, from, count, out);
    case Stored::kI8:
      return read_as<std::int8_t>(tensor, from, count, out);
    case Stored::kU8:
    case Stored::kBool:
      return read_as<std::uint8_t>(tensor, from, count, out);
  }
}

}  // namespace orch::model
