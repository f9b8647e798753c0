#include "model/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/text.h"

namespace orch::model {
namespace {

using nlohmann::json;

struct Kind {
  Stored stored;
  std::string_view name;
  std::size_t bytes;
};
constexpr std::array kKinds = {
    Kind{Stored::kF64, "F64", 8},   Kind{Stored::kF32, "F32", 4},        Kind{Stored::kF16, "F16", 2},
    Kind{Stored::kBf16, "BF16", 2}, Kind{Stored::kF8E4M3, "F8_E4M3", 1}, Kind{Stored::kF8E5M2, "F8_E5M2", 1},
    Kind{Stored::kI64, "I64", 8},   Kind{Stored::kI32, "I32", 4},        Kind{Stored::kI16, "I16", 2},
    Kind{Stored::kI8, "I8", 1},     Kind{Stored::kU8, "U8", 1},          Kind{Stored::kBool, "BOOL", 1},
};

/// What the reference implementation allows; a header of the largest published models is a tenth of it.
constexpr std::uint64_t kMostHeader = 100'000'000;
constexpr std::size_t kMostDimensions = 8;
/// A header is an object of objects of lists.
constexpr int kMostDepth = 4;

std::optional<std::uint64_t> whole(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

/// A tensor's entry in the header, or what is wrong with it.
Result<Tensor> read_entry(const json& entry, std::span<const std::byte> data) {
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets"))
    return Error{"has no dtype, shape and data_offsets"};
  Tensor tensor;
  const json& dtype = entry["dtype"];
  const auto kind = std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& it) { return dtype == it.name; });
  if (kind == kKinds.end()) return Error{"has the unknown dtype " + shown(dtype.dump())};
  tensor.stored = kind->stored;
  const json& shape = entry["shape"];
  if (!shape.is_array() || shape.size() > kMostDimensions) return Error{"has a shape that is no list of sizes"};
  std::uint64_t bytes = kind->bytes;
  for (const json& size : shape) {
    const auto n = whole(size);
    if (!n) return Error{"has a shape that is no list of sizes"};
    if (*n > 0 && bytes > std::numeric_limits<std::int64_t>::max() / *n) return Error{"has a shape that is too large"};
    bytes *= *n;
    tensor.shape.push_back(static_cast<std::int64_t>(*n));
  }
  const json& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) return Error{"has data_offsets that are not two numbers"};
  const auto from = whole(offsets[0]), to = whole(offsets[1]);
  if (!from || !to || *from > *to) return Error{"has data_offsets that are no range"};
  if (*to > data.size())
    return Error{"ends at byte " + std::to_string(*to) + " of " + std::to_string(data.size()) +
                 ": the file is not whole; download it again"};
  if (*to - *from != bytes)
    return Error{"has " + std::to_string(*to - *from) + " bytes, and its shape and dtype say " + std::to_string(bytes)};
  tensor.bytes = data.subspan(*from, bytes);
  return tensor;
}

}  // namespace

std::string_view name_of(Stored stored) { return kKinds[static_cast<std::size_t>(stored)].name; }
std::size_t bytes_of(Stored stored) { return kKinds[static_cast<std::size_t>(stored)].bytes; }
std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::vector<std::string> sizes;
  for (const std::int64_t size : shape) sizes.push_back(std::to_string(size));
  return join(sizes, " × ");
}

std::int64_t Tensor::count() const {
  std::int64_t n = 1;
  for (const std::int64_t size : shape) n *= size;
  return n;
}

Result<Safetensors> Safetensors::open(const std::filesystem::path& path) {
  auto file = FileMap::open(path);
  if (!file) return file.error();
  auto read = parse((*file)->bytes(), path.string());
  if (!read) return read.error();
  read->file_ = *std::move(file);
  return read;
}

Result<Safetensors> Safetensors::parse(std::span<const std::byte> file, const std::string& name) {
  const auto problem = [&](const std::string& what) { return Error{name + ": " + what}; };
  std::uint64_t length = 0;
  if (file.size() < sizeof length) return problem("is too short to be a safetensors file");
  std::memcpy(&length, file.data(), sizeof length);  // little-endian, as all machines that this is built for
  if (length > kMostHeader || length > file.size() - sizeof length)
    return problem("is no safetensors file, or not whole: its header would be of " + std::to_string(length) + " bytes");
  const std::span<const std::byte> data = file.subspan(sizeof length + length);
  const char* text = reinterpret_cast<const char*>(file.data()) + sizeof length;
  int deepest = 0;
  const json header = json::parse(
      text, text + length,
      [&](int depth, json::parse_event_t, json&) { return (deepest = std::max(deepest, depth)) <= kMostDepth; }, false);
  if (!header.is_object() || deepest > kMostDepth) return problem("its header is no JSON object of tensors");

  Safetensors read;
  std::vector<std::pair<const std::byte*, const std::byte*>> ranges;
  for (const auto& [key, entry] : header.items()) {
    if (key == "__metadata__") continue;
    auto tensor = read_entry(entry, data);
    if (!tensor) return problem("tensor " + shown(key) + " " + tensor.error().what);
    if (!tensor->bytes.empty()) ranges.emplace_back(tensor->bytes.data(), tensor->bytes.data() + tensor->bytes.size());
    read.tensors_.emplace(key, *std::move(tensor));
  }
  std::sort(ranges.begin(), ranges.end());
  for (std::size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].first < ranges[i - 1].second) return problem("two of its tensors overlap");
  return read;
}

}  // namespace orch::model
