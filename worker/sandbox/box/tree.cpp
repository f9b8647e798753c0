#include "sandbox/box/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace orch::sandbox {
namespace {

std::string read_file(const std::string& path) {
  std::string text;
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return text;
  char piece[4096];
  for (ssize_t got = 0; (got = ::read(file, piece, sizeof piece)) > 0;)
    text.append(piece, static_cast<std::size_t>(got));
  ::close(file);
  return text;
}

/// Bytes behind `name` in lines such as `RssAnon:      123 kB`; 0: there is no such line.
std::uint64_t kib_of(std::string_view text, std::string_view name) {
  const std::size_t at = text.find(name);
  if (at == std::string_view::npos) return 0;
  text.remove_prefix(at + name.size());
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  std::uint64_t kib = 0;
  std::from_chars(text.data(), text.data() + text.size(), kib);
  return kib * 1024;
}

void add_numbers(std::string_view text, std::vector<pid_t>& list) {
  while (!text.empty()) {
    pid_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{}) return;
    list.push_back(number);
    text.remove_prefix(std::min(static_cast<std::size_t>(end - text.data()) + 1, text.size()));
  }
}

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

/// Each thread has children of its own.
std::uint32_t add_children(const std::string& process, std::vector<pid_t>& list) {
  const std::string tasks = process + "/task";
  const std::unique_ptr<DIR, CloseFolder> folder(::opendir(tasks.c_str()));
  if (!folder) return 0;
  std::uint32_t threads = 0;
  while (const dirent* entry = ::readdir(folder.get())) {
    if (entry->d_name[0] == '.') continue;
    ++threads;
    add_numbers(read_file(tasks + "/" + entry->d_name + "/children"), list);
  }
  return threads;
}

std::uint64_t shared_once(const std::vector<pid_t>& processes, std::uint64_t otherwise) {
  std::uint64_t sum = 0;
  for (const pid_t process : processes) {
    const std::string text = read_file("/proc/" + std::to_string(process) + "/smaps_rollup");
    if (text.empty()) continue;  // it is gone
    // Pss_File is left out: programs and libraries are nobody's.
    const std::uint64_t anonymous = kib_of(text, "Pss_Anon:"), shared = kib_of(text, "Pss_Shmem:");
    if (text.find("Pss_Anon:") == std::string::npos) return otherwise;  // a kernel before 5.3
    sum += anonymous + shared + kib_of(text, "SwapPss:");
  }
  return sum == 0 ? otherwise : sum;
}

}  // namespace

Tree look_at(pid_t first, std::uint64_t precise_above) {
  Tree tree;
  std::vector<pid_t> processes = {first};
  for (std::size_t i = 0; i < processes.size(); ++i) {
    const std::string process = "/proc/" + std::to_string(processes[i]);
    const std::uint32_t threads = add_children(process, processes);
    if (threads == 0) continue;
    tree.tasks += threads;
    const std::string status = read_file(process + "/status");
    tree.memory += kib_of(status, "RssAnon:") + kib_of(status, "RssShmem:") + kib_of(status, "VmSwap:");
  }
  if (tree.memory > precise_above && processes.size() > 2) tree.memory = shared_once(processes, tree.memory);
  return tree;
}

}  // namespace orch::sandbox
