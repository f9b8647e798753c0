#include "tuning/curve.h"

#include <fcntl.h>
#include <fstream>

#include "base/whole_file.h"

namespace orch::tuning {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr std::size_t kMostLine = 16384;  ///< bytes: of ours none is longer

std::string lines_up_to(const fs::path& file, std::int64_t step) {
  std::ifstream in(file, std::ios::binary);
  std::string all, line;
  while (std::getline(in, line)) {
    if (line.size() > kMostLine || in.eof()) continue;  // not ours, or torn
    const auto read = ordered_json::parse(line, nullptr, false);
    const auto at = read.is_object() ? read.find("step") : read.end();
    if (!read.is_object() || at == read.end() || !at->is_number_integer() || at->get<std::int64_t>() > step) continue;
    all += line + "\n";
  }
  return all;
}

}  // namespace

Result<Curve> Curve::open(const fs::path& file, const fs::path& earlier, std::int64_t step) {
  const std::string before = lines_up_to(earlier, step);
  if (auto written = write_whole(file, before, 0644); !written) return written.error();
  Descriptor out(::open(file.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW));
  if (!out.is_open()) return system_error("cannot open " + file.string());
  return Curve(file, std::move(out));
}

Result<std::monostate> Curve::add(const ordered_json& line) {
  const std::string text = line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
  if (!write_all(out_.get(), text)) return system_error("cannot write " + file_.string());
  return std::monostate{};
}

}  // namespace orch::tuning
