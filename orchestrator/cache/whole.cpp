#include "cache/whole.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.h"
#include "base/units.h"
#include "cache/small_file.h"

namespace orch::cache {
namespace {

using nlohmann::json;

/// DeepSeek-V3's index, the largest in use, has 9 MB.
constexpr std::size_t kMostIndex = 128 << 20;
/// What the format itself allows.
constexpr std::size_t kMostHead = 100'000'000;
constexpr std::string_view kIndexEnd = ".index.json";
constexpr std::array<std::string_view, 8> kWeightEnds = {".safetensors", ".bin",  ".pt",   ".pth",
                                                         ".gguf",        ".ckpt", ".onnx", ".msgpack"};

std::string folder_of_file(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  return slash == std::string::npos ? "" : name.substr(0, slash + 1);
}

bool is_weights(std::string_view name) {
  return !name.ends_with("training_args.bin") &&
         std::ranges::any_of(kWeightEnds, [&](std::string_view end) { return name.ends_with(end); });
}

/// `model-00002-of-00008.safetensors`: what stands before and after the number, and how many there are.
struct Shard {
  std::string before, after;
  int of = 0;
};
std::optional<Shard> shard_of(const std::string& name) {
  const std::size_t at = name.rfind("-of-");
  const auto digits = [&](std::size_t from) {
    return from + 5 <= name.size() &&
           std::string_view(name).substr(from, 5).find_first_not_of("0123456789") == std::string_view::npos;
  };
  if (at == std::string::npos || at < 6 || !digits(at - 5) || !digits(at + 4)) return std::nullopt;
  return Shard{name.substr(0, at - 5), name.substr(at + 9), std::stoi(name.substr(at + 4, 5))};
}

class Check {
 public:
  Check(const Repo& repo, const Revision& revision, Look look) : repo_(repo), revision_(revision), look_(look) {
    for (const File& file : revision.files) {
      files_.emplace(file.name, &file);
      if (file.name.ends_with(".safetensors")) safe_.insert(folder_of_file(file.name));
      if (file.name.ends_with(std::string(".safetensors") + std::string(kIndexEnd)))
        safe_.insert(folder_of_file(file.name));
    }
  }

  std::vector<std::string> run() {
    sizes();
    if (repo_.name.kind != Kind::kModel) return std::move(lacks_);
    for (const auto& [name, file] : files_)
      if (name.ends_with(kIndexEnd)) index(*file);
    numbers();
    if (std::ranges::none_of(files_, [](const auto& file) { return is_weights(file.first); }) && lacks_.empty() &&
        revision_.lacks.empty())
      lacks_.emplace_back("it has no weights");
    if (look_ == Look::kSizes)
      for (const auto& [name, file] : files_)
        if (name.ends_with(".safetensors")) head(*file);
    return std::move(lacks_);
  }

 private:
  void sizes() {
    for (const auto& [name, bytes] : hub_list(repo_, revision_.commit)) {
      const auto file = files_.find(name);
      if (file != files_.end() && file->second->bytes != bytes)
        lacks_.push_back(quote(name) + " has " + grouped(static_cast<long long>(file->second->bytes)) + " bytes of " +
                         grouped(static_cast<long long>(bytes)));
    }
  }

  /// Weights that nobody loads, because others lie beside them.
  bool passed_over(const std::string& name) const {
    return name.find(".safetensors") == std::string::npos && safe_.contains(folder_of_file(name));
  }

  void missing(const std::string& of, std::size_t all, const std::vector<std::string>& absent) {
    if (absent.empty()) return;
    lacks_.push_back(grouped(static_cast<long long>(absent.size())) + " of " +
                     counted(static_cast<long long>(all), "file") + " of " + of +
                     (absent.size() == 1 ? " is" : " are") + " missing (" + shown(absent.front()) +
                     (absent.size() > 1 ? ", …)" : ")"));
  }

  void index(const File& file) {
    const std::string whole = file.name.substr(0, file.name.size() - kIndexEnd.size());
    if (!is_weights(whole) || files_.contains(whole) || passed_over(whole)) return;
    const auto text = read_small(file.path, kMostIndex);
    if (!text) {
      lacks_.push_back(quote(file.name) + " cannot be read, or is larger than " + format_bytes(kMostIndex));
      return;
    }
    std::set<std::string> shards;
    // Hundreds of thousands of weights lie in a few files: only the files are kept.
    bool in_map = false;
    const json rest = json::parse(
        *text,
        [&](int depth, json::parse_event_t event, json& value) {
          if (depth == 1 && event == json::parse_event_t::key) in_map = value == "weight_map";
          if (!in_map || depth != 2 || event != json::parse_event_t::value) return true;
          if (value.is_string()) shards.insert(value.get<std::string>());
          return false;
        },
        false);
    if (!rest.is_object() || shards.empty()) {
      lacks_.push_back(quote(file.name) + " is no index of weights");
      return;
    }
    std::vector<std::string> absent;
    Bytes bytes = 0;
    for (const std::string& shard : shards) {
      if (!is_inner_path(shard)) {
        lacks_.push_back(quote(file.name) + " names a file outside of the snapshot: " + quote(shard));
        return;
      }
      const auto found = files_.find(folder_of_file(file.name) + shard);
      if (found == files_.end())
        absent.push_back(shard);
      else
        bytes += found->second->bytes;
      indexed_.insert(folder_of_file(file.name) + shard);
    }
    missing(shown(file.name), shards.size(), absent);
    const auto metadata = rest.find("metadata");
    if (!absent.empty() || metadata == rest.end() || !metadata->is_object()) return;
    const auto total = metadata->find("total_size");
    if (total == metadata->end() || !total->is_number_unsigned() || total->get<Bytes>() <= bytes) return;
    lacks_.push_back("the files of " + shown(file.name) + " have " + format_bytes(static_cast<double>(bytes)) + " of " +
                     format_bytes(total->get<double>()));
  }

  void numbers() {
    std::map<std::pair<std::string, std::string>, std::pair<int, std::set<std::string>>> series;
    for (const auto& [name, file] : files_) {
      const auto shard = shard_of(name);
      if (!shard || !is_weights(name) || indexed_.contains(name) || passed_over(name)) continue;
      auto& [of, found] = series[{shard->before, shard->after}];
      of = std::max(of, shard->of);
      found.insert(name);
    }
    for (const auto& [ends, shards] : series)
      if (const auto absent = static_cast<std::size_t>(shards.first) -
                              std::min<std::size_t>(static_cast<std::size_t>(shards.first), shards.second.size()))
        lacks_.push_back(grouped(static_cast<long long>(absent)) + " of the " + std::to_string(shards.first) +
                         " files that " + quote(*shards.second.begin()) + " is one of are missing");
  }

  /// A safetensors file says in its head where its last tensor ends.
  void head(const File& file) {
    const OpenFile opened = OpenFile::to_read(file.path);
    std::array<char, 8> raw{};
    if (!opened || opened.read(raw.data(), raw.size()) != static_cast<ssize_t>(raw.size())) {
      lacks_.push_back(quote(file.name) + " cannot be read, or is too short");
      return;
    }
    Bytes length = 0;
    for (std::size_t i = raw.size(); i-- > 0;) length = length << 8 | static_cast<unsigned char>(raw[i]);
    if (length > kMostHead || length + 8 > file.bytes) {
      lacks_.push_back(quote(file.name) + " does not hold its own head");
      return;
    }
    std::string text(length, '\0');
    if (opened.read(text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      lacks_.push_back(quote(file.name) + " cannot be read");
      return;
    }
    const json tensors = json::parse(text, nullptr, false);
    if (!tensors.is_object()) {
      lacks_.push_back(quote(file.name) + " has a head that is not JSON");
      return;
    }
    Bytes end = 0;
    for (const auto& tensor : tensors) {
      if (!tensor.is_object()) continue;
      const auto offsets = tensor.find("data_offsets");
      if (offsets != tensor.end() && offsets->is_array() && offsets->size() == 2 && (*offsets)[1].is_number_unsigned())
        end = std::max(end, (*offsets)[1].get<Bytes>());
    }
    if (end > file.bytes || end + 8 + length > file.bytes)
      lacks_.push_back(quote(file.name) + " is cut short: it has " + grouped(static_cast<long long>(file.bytes)) +
                       " bytes, and its head speaks of more");
  }

  const Repo& repo_;
  const Revision& revision_;
  Look look_;
  std::map<std::string, const File*> files_;
  std::set<std::string> safe_;     ///< folders with safetensors
  std::set<std::string> indexed_;  ///< files that an index names
  std::vector<std::string> lacks_;
};

}  // namespace

std::map<std::string, Bytes> hub_list(const Repo& repo, const std::string& commit) {
  std::map<std::string, Bytes> list;
  if (!is_real_folder(repo.path / "trees")) return list;
  const auto text = read_small(repo.path / "trees" / (commit + ".json"), kMostIndex);
  if (!text) return list;
  const json parsed = json::parse(*text, nullptr, false);
  if (!parsed.is_object() || parsed.value("format_version", json()) != 1) return list;
  const auto files = parsed.find("files");
  if (files == parsed.end() || !files->is_object()) return list;
  for (const auto& [name, file] : files->items())
    if (file.is_object() && file.contains("size") && file["size"].is_number_unsigned())
      list.emplace(name, file["size"].get<Bytes>());
  return list;
}

std::vector<std::string> what_lacks(const Repo& repo, const Revision& revision, Look look) {
  return Check(repo, revision, look).run();
}

}  // namespace orch::cache
