#include "sandbox/refusal.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>

namespace orch::sandbox {
namespace {

std::optional<long> setting(const std::filesystem::path& file) {
  std::ifstream in(file);
  long value = 0;
  if (in >> value) return value;
  return std::nullopt;
}

/// What an administrator would change, as a sentence; empty: nothing that is known explains it.
std::string cause(int error, const std::filesystem::path& sysctl) {
  if (setting(sysctl / "user/max_user_namespaces") == 0)
    return "user namespaces are off here: an administrator allows them with `sysctl user.max_user_namespaces=15000`";
  if (setting(sysctl / "kernel/unprivileged_userns_clone") == 0)
    return "user namespaces are for root alone here: an administrator allows them with `sysctl "
           "kernel.unprivileged_userns_clone=1`";
  if (setting(sysctl / "kernel/apparmor_restrict_unprivileged_userns").value_or(0) != 0)
    return "AppArmor lets programs use user namespaces only by a profile: an administrator gives orch-sandbox one "
           "(with "
           "`userns,`), or allows all with `sysctl kernel.apparmor_restrict_unprivileged_userns=0`";
  if (error == ENOSPC)
    return "as many namespaces as may be are in use: see `sysctl user.max_user_namespaces` and its like";
  if (error == EPERM || error == EACCES)
    return "inside a container its engine may forbid this: Docker and Podman allow it with `--security-opt "
           "seccomp=unconfined "
           "--security-opt apparmor=unconfined --security-opt systempaths=unconfined`";
  if (error == EINVAL || error == ENOSYS)
    return "this kernel is built without something that is needed (CONFIG_USER_NS)";
  return {};
}

}  // namespace

std::string why_refused(const std::string& step, int error, const std::filesystem::path& sysctl) {
  std::string why = "cannot " + step + ": " + std::strerror(error);
  const bool of_request = step == kStartProgram || step == kShowFolder;
  const bool of_system = step == kCloneStep || (!of_request && (error == EPERM || error == EACCES));
  if (const std::string found = of_system ? cause(error, sysctl) : std::string(); !found.empty()) why += "; " + found;
  return why;
}

}  // namespace orch::sandbox
