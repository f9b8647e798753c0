#include "link/directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/descriptor.h"
#include "base/text.h"
#include "base/whole_file.h"

namespace orch::worker {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostOwner = 200;       // bytes
constexpr std::size_t kMostExit = 64 * 1024;  // bytes

}  // namespace

Result<std::optional<std::string>> JobDirectory::own(const std::string& cluster_id) const {
  const fs::path file = path_ / "claim";
  {
    const Descriptor out(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (out.is_open()) {
      if (!write_all(out.get(), cluster_id + "\n") || ::fsync(out.get()) != 0)
        return system_error("cannot write " + file.string());
      sync_folder(path_);
      return std::optional<std::string>();
    }
    if (errno != EEXIST) return system_error("cannot make " + file.string());
  }
  auto owner = read_small(file, kMostOwner);
  if (!owner) return owner.error();
  while (owner->ends_with('\n')) owner->pop_back();
  if (*owner == cluster_id) return std::optional<std::string>();
  return std::optional<std::string>(owner->empty() ? "an unknown job" : *owner);
}

Result<std::monostate> JobDirectory::write_exit(const wire::Exit& exit) const {
  return write_whole(path_ / "exit.json", wire::write(exit));
}

Result<std::optional<wire::Exit>> JobDirectory::read_exit() const {
  const fs::path file = path_ / "exit.json";
  std::error_code error;
  if (!fs::exists(file, error)) return std::optional<wire::Exit>();
  const auto text = read_small(file, kMostExit);
  if (!text) return text.error();
  auto exit = wire::read<wire::Exit>(*text);
  if (!exit) return Error{file.string() + ": " + exit.error().what};
  return std::optional<wire::Exit>(*std::move(exit));
}

fs::path JobDirectory::spool(int restarts) const { return path_ / ("spool." + std::to_string(restarts)); }

Result<std::vector<fs::path>> JobDirectory::spools() const {
  std::vector<std::pair<int, fs::path>> found;
  std::error_code error;
  for (fs::directory_iterator at(path_, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    constexpr std::string_view kBegin = "spool.";
    int number = 0;
    const char* const last = name.data() + name.size();
    if (!name.starts_with(kBegin)) continue;
    const auto [stopped, wrong] = std::from_chars(name.data() + kBegin.size(), last, number);
    if (wrong == std::errc() && stopped == last) found.emplace_back(number, at->path());
  }
  if (error) return Error{"cannot look into " + path_.string() + ": " + error.message()};
  std::sort(found.begin(), found.end());
  std::vector<fs::path> files;
  for (auto& [number, file] : found) files.push_back(std::move(file));
  return files;
}

Result<fs::path> JobDirectory::attempt_folder(const std::string& relative) const {
  const fs::path asked(relative);
  const bool inside = !relative.empty() && asked.is_relative() && relative.find('\0') == std::string::npos &&
                      std::none_of(asked.begin(), asked.end(), [](const fs::path& part) { return part == ".."; });
  if (!inside) return Error{"the folder " + quote(relative) + " is not in the job's directory"};
  fs::path folder = path_ / asked;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return Error{"cannot make " + folder.string() + ": " + error.message()};
  // A link in it could lead elsewhere.
  const fs::path real = fs::canonical(folder, error), root = fs::canonical(path_, error);
  if (error || std::mismatch(root.begin(), root.end(), real.begin(), real.end()).first != root.end())
    return Error{"the folder " + quote(relative) + " leads out of the job's directory"};
  return folder;
}

}  // namespace orch::worker
