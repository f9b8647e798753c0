#include "store/disk.h"

#include <fcntl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "store/store.h"

namespace orch::store {
namespace {

struct Kind {
  std::uint32_t type;
  std::string_view name;
};

/// From linux/magic.h, and for those that are not in the kernel's tree from the list of coreutils' `stat -f`.
constexpr Kind kNetwork[] = {
    {0x00006969, "NFS"},
    {0x0000517B, "SMB"},
    {0xFF534D42, "CIFS"},
    {0xFE534D42, "SMB2"},
    {0x0BD00BD0, "Lustre"},
    {0x47504653, "GPFS (Storage Scale)"},
    {0x19830326, "BeeGFS"},
    {0x00C36400, "CephFS"},
    {0xAAD7AAEA, "PanFS"},
    {0x20030528, "OrangeFS"},
    {0x01161970, "GFS2"},
    {0x7461636F, "OCFS2"},
    {0x5346414F, "AFS"},
    {0x6B414653, "AFS"},
    {0x73757245, "Coda"},
    {0x013111A8, "IBRIX"},
    {0xBEEFDEAD, "StorNext"},
    {0x61636673, "ACFS"},
    {0x0000564C, "NCP"},
    {0x01021997, "9P"},
    {0x65735546, "FUSE (sshfs, GlusterFS and others)"},
    {0xBACBACBC, "VMware's shared folders"},
    {0x786F4256, "VirtualBox's shared folders"},
    {0x7C7C6673, "Parallels' shared folders"},
};

}  // namespace

std::optional<std::string_view> network_file_system(std::uint64_t f_type) {
  // Where f_type is 32 bits wide and signed, its upper half is the sign.
  const auto type = static_cast<std::uint32_t>(f_type);
  for (const Kind& kind : kNetwork)
    if (kind.type == type) return kind.name;
  return std::nullopt;
}

std::optional<std::string> refuse_disk(const std::filesystem::path& directory, std::uint64_t f_type) {
  const auto name = network_file_system(f_type);
  if (!name) return std::nullopt;
  return directory.string() + " is on " + std::string(*name) +
         ", where the database would be damaged if two hosts opened it; give a directory on a local disk with --state";
}

std::optional<std::string> refuse_disk(const std::filesystem::path& directory) {
  struct statfs about {};
  if (statfs(directory.c_str(), &about) != 0)
    return directory.string() + ": it cannot be told on what disk it is (" + std::strerror(errno) + ")";
  return refuse_disk(directory, static_cast<std::uint64_t>(about.f_type));
}

void sync_to_disk(const std::filesystem::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool well = file >= 0 && fsync(file) == 0;
  const int error = errno;
  if (file >= 0) close(file);
  if (!well) throw Failure(path.string() + ": cannot be brought to the disk (" + std::strerror(error) + ")");
}

}  // namespace orch::store
