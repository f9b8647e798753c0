#include "model/safetensors_writer.h"

#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/whole_file.h"

namespace orch::model {

static_assert(std::endian::native == std::endian::little, "the format has the least byte first");

Result<std::monostate> write_safetensors(const std::filesystem::path& file,
                                         const std::map<std::string, WrittenTensor>& tensors,
                                         const std::map<std::string, std::string>& metadata) {
  nlohmann::json header = nlohmann::json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t at = 0;
  for (const auto& [name, tensor] : tensors) {
    header[name] = {
        {"dtype", name_of(tensor.stored)}, {"shape", tensor.shape}, {"data_offsets", {at, at + tensor.bytes.size()}}};
    at += tensor.bytes.size();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    return Error{"a tensor's name is no UTF-8"};
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');  // numbers begin at a round place
  const std::uint64_t size = text.size();
  char length[sizeof size];
  std::memcpy(length, &size, sizeof size);

  auto out = WholeFile::open(file, 0644);
  if (!out) return out.error();
  if (auto written = out->append(std::string_view(length, sizeof length)); !written) return written;
  if (auto written = out->append(text); !written) return written;
  for (const auto& [name, tensor] : tensors)
    if (auto written = out->append(tensor.bytes); !written) return written;
  return out->finish();
}

}  // namespace orch::model
