#include "model/rewriting.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/descriptor.h"
#include "base/text.h"
#include "base/units.h"
#include "base/whole_file.h"
#include "kernels/number.h"

namespace orch::model {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "the format has the least byte first");

constexpr const char* kWhole = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kTemplates = "additional_chat_templates";
constexpr std::size_t kMostIndex = 100'000'000;          // bytes
constexpr std::int64_t kAtOnce = std::int64_t{1} << 18;  // numbers
constexpr std::size_t kCopied = std::size_t{1} << 20;    // bytes at once

/// A file of the base's weights.
struct Shard {
  std::string name;
  std::shared_ptr<const FileMap> file;
  Safetensors read;
};

struct Plan {
  std::vector<Shard> shards;
  bool has_index = false;
  std::string index;                ///< new, where sizes differ from what the base's says; else empty
  std::vector<std::string> copied;  ///< within the base's folder
  std::vector<std::string> left_out;
  std::size_t tensors = 0;
  std::uint64_t bytes = 0;  ///< about as many will be written
};

std::size_t new_size(const std::string& name, const Tensor& tensor, const NewTensors& tensors) {
  const auto now = tensors.find(name);
  return now == tensors.end() ? tensor.bytes.size()
                              : static_cast<std::size_t>(tensor.count()) * bytes_of(now->second.stored);
}

// Rounding, from double at once: by way of a float some numbers would be rounded twice, and end on the wrong side.

/// The nearest float, or of the two around it the one whose last bit is 1: a shorter format rounds both alike.
float to_odd(double value) {
  const auto nearest = static_cast<float>(value);
  const auto back = static_cast<double>(nearest);
  if (back == value || std::isnan(value)) return nearest;
  auto bits = std::bit_cast<std::uint32_t>(nearest);
  if (std::fabs(back) > std::fabs(value)) --bits;
  return std::bit_cast<float>(bits | 1);
}

template <class T>
T rounded(double value) {
  if constexpr (std::is_same_v<T, kernels::Bf16>)
    return kernels::from_float<kernels::Bf16>(to_odd(value));
  else if constexpr (std::is_same_v<T, kernels::Fp16>)
    return kernels::from_float<kernels::Fp16>(to_odd(value));
  else
    return static_cast<T>(value);
}

/// Whether none became infinite.
template <class T>
bool write_rounded(const std::vector<double>& sums, std::vector<std::byte>& out) {
  out.resize(sums.size() * sizeof(T));
  bool finite = true;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const T number = rounded<T>(sums[i]);
    if constexpr (std::is_arithmetic_v<T>)
      finite = finite && (std::isfinite(number) || !std::isfinite(sums[i]));
    else
      finite = finite && (std::isfinite(kernels::to_float(number)) || !std::isfinite(sums[i]));
    std::memcpy(out.data() + i * sizeof number, &number, sizeof number);
  }
  return finite;
}

bool write_rounded(const std::vector<double>& sums, Stored stored, std::vector<std::byte>& out) {
  switch (stored) {
    case Stored::kF64:
      return write_rounded<double>(sums, out);
    case Stored::kF16:
      return write_rounded<kernels::Fp16>(sums, out);
    case Stored::kBf16:
      return write_rounded<kernels::Bf16>(sums, out);
    default:
      return write_rounded<float>(sums, out);
  }
}

void read_doubles(const Tensor& tensor, std::int64_t from, std::vector<double>& out) {
  if (tensor.stored == Stored::kF64) {
    std::memcpy(out.data(), tensor.bytes.data() + static_cast<std::size_t>(from) * sizeof(double),
                out.size() * sizeof(double));
    return;
  }
  std::vector<float> numbers(out.size());
  read_numbers(tensor, from, static_cast<std::int64_t>(out.size()), numbers.data());
  std::copy(numbers.begin(), numbers.end(), out.begin());
}

/// Some rows at a time.
Result<std::monostate> write_new(WholeFile& out, const std::string& name, const Tensor& tensor, const NewTensor& now) {
  const std::int64_t cols = std::max<std::int64_t>(1, now.cols), rows = tensor.count() / cols;
  const std::int64_t at_once = std::max<std::int64_t>(1, kAtOnce / cols);
  std::vector<double> numbers;
  std::vector<std::byte> bytes;
  for (std::int64_t first = 0; first < rows; first += at_once) {
    numbers.resize(static_cast<std::size_t>(std::min(at_once, rows - first) * cols));
    read_doubles(tensor, first * cols, numbers);
    if (auto changed = now.change(first, numbers); !changed) return changed;
    if (!write_rounded(numbers, now.stored, bytes))
      return Error{"tensor " + shown(name) + " gets numbers that are too large for " +
                   std::string(name_of(now.stored)) +
                   (now.stored == Stored::kF16 ? "; bf16 and fp32 have room for them" : "")};
    if (auto written = out.append(bytes); !written) return written;
  }
  return std::monostate{};
}

Result<std::monostate> write_shard(const Shard& shard, const fs::path& folder, const NewTensors& tensors) {
  struct Entry {
    const std::string* name;
    const Tensor* tensor;
    const NewTensor* now;
    Stored stored;
  };
  std::vector<Entry> entries;
  for (const auto& [name, tensor] : shard.read.tensors()) {
    const auto at = tensors.find(name);
    const NewTensor* now = at == tensors.end() ? nullptr : &at->second;
    entries.push_back({&name, &tensor, now, now ? now->stored : tensor.stored});
  }
  // In the file's own order, but wide numbers first, as the format's own library writes them: it reads only what is
  // aligned.
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.tensor->bytes.data() < b.tensor->bytes.data(); });
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return bytes_of(a.stored) > bytes_of(b.stored); });

  const std::span<const std::byte> file = shard.file->bytes();
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);  // checked when it was read
  const char* before = reinterpret_cast<const char*>(file.data()) + sizeof length;
  const ordered_json old = ordered_json::parse(before, before + length, nullptr, false);
  ordered_json header = ordered_json::object();
  if (old.contains("__metadata__")) header["__metadata__"] = old["__metadata__"];
  std::size_t at = 0;
  for (const Entry& each : entries) {
    const std::size_t size = new_size(*each.name, *each.tensor, tensors);
    header[*each.name] = {
        {"dtype", name_of(each.stored)}, {"shape", each.tensor->shape}, {"data_offsets", {at, at + size}}};
    at += size;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // numbers begin at a round place
  length = text.size();

  auto out = WholeFile::open(folder / shard.name, 0644);
  if (!out) return out.error();
  if (auto written = out->append(std::as_bytes(std::span(&length, 1))); !written) return written;
  if (auto written = out->append(text); !written) return written;
  for (const Entry& each : entries)
    if (auto written =
            each.now ? write_new(*out, *each.name, *each.tensor, *each.now) : out->append(each.tensor->bytes);
        !written)
      return written;
  return out->finish();
}

Result<std::monostate> copy_whole(const fs::path& from, const fs::path& to) {
  const Descriptor in(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in.is_open()) return system_error("cannot read " + from.string());
  auto out = WholeFile::open(to, 0644);
  if (!out) return out.error();
  std::string part(kCopied, '\0');
  for (;;) {
    const ssize_t got = ::read(in.get(), part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error("cannot read " + from.string());
    if (got == 0) return out->finish();
    if (auto written = out->append(std::string_view(part.data(), static_cast<std::size_t>(got))); !written)
      return written;
  }
}

/// Weights in another form, which would be the base's still; and an adapter's configuration, which would have
/// transformers add that adapter once more.
bool is_left_out(const std::string& name) {
  constexpr std::array kEndings = {".safetensors", ".index.json", ".bin", ".pt",      ".pth", ".ckpt",
                                   ".gguf",        ".onnx",       ".h5",  ".msgpack", ".ot",  ".npz"};
  return name == "adapter_config.json" ||
         std::any_of(kEndings.begin(), kEndings.end(), [&](const char* ending) { return name.ends_with(ending); });
}

/// The folder's files that are no weights, with templates of chats in a folder of their own.
Result<std::monostate> find_others(const fs::path& base, Plan& plan) {
  for (const char* within : {"", kTemplates}) {
    std::error_code error;
    if (*within && !fs::is_directory(base / within, error)) continue;
    fs::directory_iterator entry(base / within, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
      const std::string name = (fs::path(within) / entry->path().filename()).string();
      const bool is_weights =
          std::any_of(plan.shards.begin(), plan.shards.end(), [&](const Shard& shard) { return shard.name == name; });
      std::error_code ignored;
      if (is_weights || entry->is_directory(ignored) || (name == kIndex && !plan.index.empty())) continue;
      if (is_left_out(name) && !(name == kIndex && plan.has_index)) {
        plan.left_out.push_back(name);
        continue;
      }
      if (!entry->is_regular_file(ignored))
        return Error{entry->path().string() + " is no file that can be copied, or a link to nothing"};
      plan.bytes += entry->file_size(ignored);
      plan.copied.push_back(name);
    }
    if (error) return Error{"cannot read " + (base / within).string() + ": " + error.message()};
  }
  std::sort(plan.copied.begin(), plan.copied.end());
  std::sort(plan.left_out.begin(), plan.left_out.end());
  return std::monostate{};
}

/// The names of the base's files, as Checkpoint::open finds them; it has seen to it that they are there and in order.
Result<std::vector<std::string>> files_of(const fs::path& base, ordered_json& index) {
  std::error_code ignored;
  if (fs::exists(base / kWhole, ignored)) return std::vector<std::string>{kWhole};
  const auto text = read_small(base / kIndex, kMostIndex);
  if (!text) return text.error();
  index = ordered_json::parse(*text, nullptr, false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    return Error{(base / kIndex).string() + ": has no weight_map from tensors to files"};
  std::set<std::string> files;
  for (const auto& [tensor, file] : index["weight_map"].items())
    if (file.is_string()) files.insert(file.get<std::string>());
  return std::vector<std::string>(files.begin(), files.end());
}

Result<Plan> plan_of(const fs::path& base, const NewTensors& tensors) {
  Plan plan;
  ordered_json index;
  const auto files = files_of(base, index);
  if (!files) return files.error();
  std::uint64_t before = 0, after = 0;
  for (const std::string& name : *files) {
    auto file = FileMap::open(base / name);
    if (!file) return file.error();
    auto read = Safetensors::parse((*file)->bytes(), (base / name).string());
    if (!read) return read.error();
    for (const auto& [tensor, of] : read->tensors()) {
      before += of.bytes.size();
      after += new_size(tensor, of, tensors);
    }
    plan.tensors += read->tensors().size();
    plan.bytes += (*file)->bytes().size();
    plan.shards.push_back({name, *std::move(file), *std::move(read)});
  }
  plan.bytes = plan.bytes - before + after;
  plan.has_index = index.is_object();
  if (plan.has_index && after != before) {
    if (!index.contains("metadata") || !index["metadata"].is_object()) index["metadata"] = ordered_json::object();
    index["metadata"]["total_size"] = after;
    plan.index = index.dump(2) + "\n";
  }
  if (auto found = find_others(base, plan); !found) return found.error();
  return plan;
}

/// A folder that is gone with it, unless it was moved to where it belongs.
class FolderAside {
 public:
  static Result<FolderAside> make(const fs::path& folder, const RewritingWords& words) {
    const fs::path aside = folder.string() + ".new";
    if (::mkdir(aside.c_str(), 0777) == 0) return FolderAside(aside);
    if (errno == EEXIST)
      return Error{aside.string() + " is there: another " + words.deed +
                   " is writing it, or was cut off; remove it if none is"};
    return system_error("cannot make the folder " + aside.string());
  }
  FolderAside(FolderAside&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  FolderAside& operator=(FolderAside&&) = delete;
  ~FolderAside() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }

  const fs::path& path() const { return path_; }
  Result<std::monostate> move_to(const fs::path& folder) {
    sync_folder(path_);
    // Over an empty folder too, and never over another.
    if (::rename(path_.c_str(), folder.c_str()) != 0)
      return system_error("cannot rename " + path_.string() + " to " + folder.string());
    path_.clear();
    sync_folder(folder.parent_path());
    return std::monostate{};
  }

 private:
  explicit FolderAside(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

Result<std::monostate> write_all_of(const fs::path& base, const Plan& plan, const NewTensors& tensors,
                                    const fs::path& folder) {
  for (const Shard& shard : plan.shards)
    if (auto written = write_shard(shard, folder, tensors); !written) return written;
  if (!plan.index.empty())
    if (auto written = write_whole(folder / kIndex, plan.index, 0644); !written) return written;
  for (const std::string& name : plan.copied) {
    std::error_code error;
    fs::create_directories((folder / name).parent_path(), error);
    if (auto copied = copy_whole(base / name, folder / name); !copied) return copied;
  }
  return std::monostate{};
}

}  // namespace

Result<std::optional<Stored>> stored_as(std::optional<DType> dtype, const RewritingWords& words) {
  if (!dtype) return std::optional<Stored>();
  if (*dtype == DType::kFp32) return std::optional(Stored::kF32);
  if (*dtype == DType::kBf16) return std::optional(Stored::kBf16);
  if (*dtype == DType::kFp16) return std::optional(Stored::kF16);
  return Error{words.tensors + " are stored as fp32, bf16 or fp16, not " + std::string(name_of(*dtype))};
}

Result<fs::path> new_folder(const fs::path& out, const RewritingWords& words) {
  fs::path folder = fs::absolute(out).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();  // out/
  std::error_code error;
  const fs::file_status status = fs::symlink_status(folder, error);
  if (!fs::exists(status)) return folder;
  if (!fs::is_directory(status) || !fs::is_empty(folder, error) || error)
    return Error{folder.string() + " is there already; a " + words.model + " is written to a new folder"};
  return folder;
}

Result<Rewritten> rewrite(const fs::path& base, const NewTensors& tensors, const fs::path& folder,
                          const RewritingWords& words) {
  const auto plan = plan_of(base, tensors);
  if (!plan) return plan.error();
  std::error_code error;
  const fs::space_info disk = fs::space(folder.parent_path(), error);
  if (!error && disk.available < plan->bytes)
    return Error{"the " + words.model + " takes " + format_bytes(static_cast<double>(plan->bytes)) + ", and " +
                 folder.parent_path().string() + " has room for " + format_bytes(static_cast<double>(disk.available)) +
                 "; nothing was written"};
  auto aside = FolderAside::make(folder, words);
  if (!aside) return aside.error();
  if (auto written = write_all_of(base, *plan, tensors, aside->path()); !written)
    return Error{written.error().what + "; nothing is left of the " + words.model};
  if (auto moved = aside->move_to(folder); !moved) return moved.error();

  Rewritten rewritten;
  for (const auto& [name, now] : tensors) rewritten.changed.push_back(name);
  rewritten.tensors = plan->tensors;
  rewritten.bytes = plan->bytes;
  rewritten.copied = plan->copied;
  rewritten.left_out = plan->left_out;
  return rewritten;
}

}  // namespace orch::model
