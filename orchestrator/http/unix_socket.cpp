#include "http/unix_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/descriptor.h"

namespace orch::http {
namespace {

Error failed(const std::filesystem::path& path, const std::string& what) {
  return Error{path.string() + ": the socket was not made: " + what};
}

/// Makes the name free, or says why it is not.
Result<std::monostate> make_way(const std::filesystem::path& path, const sockaddr_un& address) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return std::monostate{};
    return failed(path, std::strerror(errno));
  }
  if (!S_ISSOCK(status.st_mode)) return failed(path, "something else than a socket is there, and it was left alone");
  // Without waiting: a live one whose queue is full says EAGAIN.
  const Descriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (probe.get() < 0) return failed(path, std::strerror(errno));
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 || errno == EAGAIN)
    return failed(path, "another process listens there");
  if (errno != ECONNREFUSED)
    return failed(path,
                  std::string("a socket is there, and whether it is in use is not known: ") + std::strerror(errno));
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return failed(path, std::string("the socket of a dead process could not be removed: ") + std::strerror(errno));
  return std::monostate{};
}

}  // namespace

Result<UnixSocket> listen_unix(const std::filesystem::path& path, mode_t mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& text = path.native();
  if (text.empty() || text.size() >= sizeof address.sun_path)
    return failed(path, "its path has " + std::to_string(text.size()) + " bytes, and the system takes 1 to " +
                            std::to_string(sizeof address.sun_path - 1));
  std::memcpy(address.sun_path, text.data(), text.size());

  // Two daemons that start at once would each take the other's fresh socket for a dead one: the folder's lock keeps
  // them apart until the winner listens.
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const Descriptor lock(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (lock.get() < 0) return failed(path, "its folder could not be opened: " + std::string(std::strerror(errno)));
  while (::flock(lock.get(), LOCK_EX) != 0)
    if (errno != EINTR) return failed(path, "its folder could not be locked: " + std::string(std::strerror(errno)));
  if (auto way = make_way(path, address); !way) return way.error();

  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.get() < 0) return failed(path, std::strerror(errno));
  // Linux gives the name the mode of the unbound socket, less the umask; what the umask took is given back after.
  if (::fchmod(socket.get(), mode) != 0 ||
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return failed(path, std::strerror(errno));
  struct stat status {};
  if (::chmod(path.c_str(), mode) != 0 || ::listen(socket.get(), SOMAXCONN) != 0 ||
      ::lstat(path.c_str(), &status) != 0) {
    const int code = errno;
    ::unlink(path.c_str());
    return failed(path, std::strerror(code));
  }
  return UnixSocket{socket.release(), path, status.st_dev, status.st_ino};
}

void remove_name(const UnixSocket& socket) {
  struct stat status {};
  if (::lstat(socket.path.c_str(), &status) == 0 && status.st_dev == socket.device && status.st_ino == socket.inode)
    ::unlink(socket.path.c_str());
}

}  // namespace orch::http
