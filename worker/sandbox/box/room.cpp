#include "sandbox/box/room.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "sandbox/refusal.h"

namespace orch::sandbox {
namespace {

/// Where the room is built, over what is there: a folder that every system has.
const std::string kBase = "/tmp";

constexpr std::uint64_t kInodes = 16384;

constexpr std::array kSystem = {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"};
constexpr std::array kOfEtc = {"/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime"};
constexpr std::array kDevices = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};

constexpr const char* kPasswd = "user:x:1000:1000::/sandbox:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
constexpr const char* kGroup = "user:x:1000:\nnogroup:x:65534:\n";
constexpr const char* kHosts = "127.0.0.1 localhost sandbox\n";

struct Source {
  std::string path;
  int descriptor = -1;
  bool folder = false;
  bool device = false;
};

std::string read_link(const std::string& path) {
  char target[4096];
  const ssize_t length = ::readlink(path.c_str(), target, sizeof target);
  return length > 0 ? std::string(target, static_cast<std::size_t>(length)) : std::string();
}

bool make_folders(const std::string& path) {
  for (std::size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    if (::mkdir(path.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST) return false;
    if (at == std::string::npos) return true;
  }
}

bool write_file(const std::string& path, std::string_view text) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return false;
  const bool written = ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(file);
  return written;
}

/// Of the places where something is mounted, as /proc/self/mountinfo writes them, those at or below `path`.
std::vector<std::string> mounts_below(const std::string& path) {
  std::vector<std::string> found;
  const int file = ::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
  if (file < 0) return found;
  std::string text;
  char piece[4096];
  for (ssize_t got = 0; (got = ::read(file, piece, sizeof piece)) > 0;)
    text.append(piece, static_cast<std::size_t>(got));
  ::close(file);
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    std::size_t from = 0;
    for (int field = 0; field < 4 && from != std::string_view::npos; ++field) from = line.find(' ', from + 1);
    if (from == std::string_view::npos) continue;
    const std::string_view written = line.substr(from + 1, line.find(' ', from + 1) - from - 1);
    std::string place;
    for (std::size_t i = 0; i < written.size(); ++i) {
      if (written[i] == '\\' && i + 3 < written.size()) {
        place += static_cast<char>((written[i + 1] - '0') * 64 + (written[i + 2] - '0') * 8 + (written[i + 3] - '0'));
        i += 3;
      } else {
        place += written[i];
      }
    }
    if (place == path || place.starts_with(path + "/")) found.push_back(place);
  }
  return found;
}

/// The kernel lets nobody drop the restrictions that a mount brought along, so they are named again.
unsigned long flags_of(const std::string& place) {
  struct statvfs about {};
  if (::statvfs(place.c_str(), &about) != 0) return 0;
  unsigned long flags = 0;
  if (about.f_flag & ST_NOEXEC) flags |= MS_NOEXEC;
  if (about.f_flag & ST_NODEV) flags |= MS_NODEV;
  if (about.f_flag & ST_NOATIME) flags |= MS_NOATIME;
  if (about.f_flag & ST_NODIRATIME) flags |= MS_NODIRATIME;
  if (about.f_flag & ST_RELATIME) flags |= MS_RELATIME;
  return flags;
}

Failure bind(const Source& source) {
  const std::string target = kBase + source.path;
  if (!make_folders(target.substr(0, target.rfind('/')))) return {"make the folders of the new root", errno};
  if (source.folder ? ::mkdir(target.c_str(), 0755) != 0 && errno != EEXIST : !write_file(target, ""))
    return {"make a place in the new root", errno};
  const std::string opened = "/proc/self/fd/" + std::to_string(source.descriptor);
  if (::mount(opened.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
    return {"show a folder of the system", errno};
  for (const std::string& place : mounts_below(target)) {
    const unsigned long flags =
        flags_of(place) | MS_REMOUNT | MS_BIND | MS_NOSUID | (source.device ? MS_NOEXEC : MS_RDONLY | MS_NODEV);
    // What lies below may be out of our reach, and so it is out of the program's.
    if (::mount(nullptr, place.c_str(), nullptr, flags, nullptr) != 0 && place == target)
      return {"make a folder of the system read-only", errno};
  }
  return {};
}

/// Opened before anything covers them; a link is made again where it was.
Failure collect(const std::vector<std::string>& read_only, std::vector<Source>& sources,
                std::vector<std::pair<std::string, std::string>>& links) {
  const auto add = [&](const std::string& path, bool needed) {
    const int descriptor = ::open(path.c_str(), O_PATH | O_CLOEXEC);
    struct stat about {};
    if (descriptor < 0 || ::fstat(descriptor, &about) != 0) return !needed;
    sources.push_back({path, descriptor, S_ISDIR(about.st_mode), S_ISCHR(about.st_mode)});
    return true;
  };
  for (const char* path : kSystem) {
    const std::string target = read_link(path);
    if (!target.empty())
      links.emplace_back(path, target);
    else
      add(path, false);
  }
  for (const char* path : kOfEtc) add(path, false);
  for (const char* path : kDevices) add(path, false);
  const auto is_shown = [&](const std::string& path) {
    return std::ranges::any_of(sources, [&](const Source& one) { return (path + "/").starts_with(one.path + "/"); });
  };
  for (const std::string& path : read_only)
    if (!is_shown(path) && !add(path, true)) return {kShowFolder, errno};
  return {};
}

/// One file system for all that is written, so that one number bounds it.
Failure make_writable(std::uint64_t disk) {
  const std::string store = kBase + "/store";
  const std::string options = "mode=0755,size=" + std::to_string(disk) + ",nr_inodes=" + std::to_string(kInodes);
  if (::mkdir(store.c_str(), 0755) != 0 ||
      ::mount("tmpfs", store.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
    return {"mount what is written to", errno};
  for (const auto& [name, place] : {std::pair{"/sandbox", "/sandbox"}, {"/tmp", "/tmp"}, {"/shm", "/dev/shm"}}) {
    const std::string from = store + name, to = kBase + place;
    if (::mkdir(from.c_str(), 0700) != 0 || !make_folders(to) ||
        ::mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) != 0)
      return {"mount the program's folder", errno};
  }
  if (::umount2(store.c_str(), MNT_DETACH) != 0 || ::rmdir(store.c_str()) != 0) return {"hide what was mounted", errno};
  return {};
}

Failure furnish() {
  const std::string base = kBase;
  if (!make_folders(base + "/etc") || !make_folders(base + "/dev") || !make_folders(base + "/proc") ||
      !write_file(base + "/etc/passwd", kPasswd) || !write_file(base + "/etc/group", kGroup) ||
      !write_file(base + "/etc/hosts", kHosts))
    return {"write the files of the new root", errno};
  for (const auto& [target, name] : {std::pair{"/proc/self/fd", "/dev/fd"},
                                     {"/proc/self/fd/0", "/dev/stdin"},
                                     {"/proc/self/fd/1", "/dev/stdout"},
                                     {"/proc/self/fd/2", "/dev/stderr"}})
    if (::symlink(target, (base + name).c_str()) != 0) return {"write the files of the new root", errno};
  return {};
}

}  // namespace

Failure enter_room(const std::vector<std::string>& read_only, std::uint64_t disk) {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return {"keep mounts to itself", errno};
  std::vector<Source> sources;
  std::vector<std::pair<std::string, std::string>> links;
  if (const Failure failure = collect(read_only, sources, links); failure.step) return failure;
  if (::mount("tmpfs", kBase.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m,nr_inodes=4096") != 0)
    return {"mount a new root", errno};
  if (const Failure failure = furnish(); failure.step) return failure;
  for (const auto& [name, target] : links)
    if (::symlink(target.c_str(), (kBase + name).c_str()) != 0) return {"write the files of the new root", errno};
  if (const Failure failure = make_writable(disk); failure.step) return failure;
  for (const Source& source : sources)
    if (const Failure failure = bind(source); failure.step) return failure;
  // Where a container has covered parts of /proc the kernel mounts no other one: programs then have none.
  if (::mount("proc", (kBase + "/proc").c_str(), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0 &&
      errno != EPERM)
    return {"mount /proc", errno};
  if (::chdir(kBase.c_str()) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0) return {"change the root", errno};
  // The old root lies over the new one now.
  if (::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) return {"leave the old root", errno};
  if (::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) != 0)
    return {"make the new root read-only", errno};
  return {};
}

}  // namespace orch::sandbox
