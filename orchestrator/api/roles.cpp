#include "api/roles.h"

#include <fcntl.h>
#include <grp.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pwd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace orch::api {
namespace {

constexpr std::size_t kBytes = 32;

std::string hex(const unsigned char* bytes, std::size_t size) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 15];
  }
  return text;
}

std::string draw() {
  std::array<unsigned char, kBytes> bytes{};
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t got = getrandom(bytes.data() + done, bytes.size() - done, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw std::runtime_error("the system gives no random bytes");
    done += static_cast<std::size_t>(got);
  }
  return hex(bytes.data(), bytes.size());
}

/// What the file holds; it is drawn and written if there is none yet.
Result<http::Secret> secret_in(const std::filesystem::path& path) {
  const auto problem = [&](const std::string& what) { return Error{path.string() + ": " + what}; };
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) {
    const std::string text = draw();
    const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(fd) == 0;
    ::close(fd);
    if (!written) return problem(std::string("cannot be written: ") + std::strerror(errno));
    return http::Secret(text);
  }
  fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return problem(std::string("cannot be read: ") + std::strerror(errno));
  struct stat about {};
  std::array<char, 2 * kBytes> text{};
  const bool whole =
      ::fstat(fd, &about) == 0 && ::read(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  if (!whole) return problem("is no secret of 64 hexadecimal digits; take it away and start again");
  if (about.st_mode & 077) return problem("can be read by others than its owner; chmod 600 it, or take it away");
  return http::Secret(std::string(text.data(), text.size()));
}

std::optional<gid_t> group_named(const std::string& name) {
  if (name.empty()) return std::nullopt;
  const group* found = ::getgrnam(name.c_str());  // the caller holds that one thread alone asks
  if (!found) return std::nullopt;
  return found->gr_gid;
}

bool is_member(uid_t uid, gid_t gid, const std::string& name) {
  const auto wanted = group_named(name);
  if (!wanted) return false;
  if (gid == *wanted) return true;
  const passwd* account = ::getpwuid(uid);
  if (!account) return false;
  int count = 64;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  while (::getgrouplist(account->pw_name, account->pw_gid, groups.data(), &count) < 0)
    groups.resize(static_cast<std::size_t>(count));
  return std::find(groups.begin(), groups.begin() + count, *wanted) != groups.begin() + count;
}

}  // namespace

std::string_view name_of(Role role) {
  constexpr std::array<std::string_view, 4> kNames = {"none", "read", "submit", "admin"};
  return kNames[static_cast<std::size_t>(role)];
}

Gate::Gate(http::Secret secret, http::Secret user_token, RoleGroups groups)
    : secret_(std::move(secret)), user_token_(std::move(user_token)), groups_(std::move(groups)) {}

Result<Gate> Gate::open(const std::filesystem::path& folder, RoleGroups groups) {
  for (const std::string& name : {groups.read, groups.submit, groups.admin})
    if (!name.empty() && !group_named(name)) return Error{"there is no Unix group '" + name + "'"};
  auto secret = secret_in(folder / "secret");
  if (!secret) return secret.error();
  auto token = secret_in(folder / "user.token");
  if (!token) return token.error();
  return Gate(*std::move(secret), *std::move(token), std::move(groups));
}

Role Gate::role_of(const http::Peer& peer) const {
  if (peer.transport == http::Transport::kTls)
    return user_token_.matches(peer.token.reveal()) ? Role::kAdmin : Role::kNone;
  if (peer.uid == ::geteuid() || peer.uid == 0) return Role::kAdmin;
  if (is_member(peer.uid, peer.gid, groups_.admin)) return Role::kAdmin;
  if (is_member(peer.uid, peer.gid, groups_.submit)) return Role::kSubmit;
  if (is_member(peer.uid, peer.gid, groups_.read)) return Role::kRead;
  return Role::kNone;
}

std::string Gate::user_of(const http::Peer& peer) const {
  const uid_t uid = peer.transport == http::Transport::kTls ? ::geteuid() : peer.uid;
  const passwd* account = ::getpwuid(uid);
  return account ? account->pw_name : std::to_string(uid);
}

std::string Gate::token_of_job(std::string_view job) const {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  const std::string& key = secret_.reveal();
  const unsigned char* made =
      ::HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(job.data()),
             job.size(), digest.data(), &size);
  if (!made || size != kBytes) throw std::runtime_error("OpenSSL could not compute a HMAC");
  return hex(digest.data(), size);
}

bool Gate::is_job(const http::Peer& peer, std::string_view job) const {
  return http::Secret(token_of_job(job)).matches(peer.token.reveal());
}

}  // namespace orch::api
