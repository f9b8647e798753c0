#include "comm/lifeline.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <sstream>

namespace orch::comm {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::size_t kMostMessage = std::size_t{64} << 20;  // bytes
constexpr std::size_t kSecret = 32;                          // bytes
constexpr auto kConnect = 5s;                                // to one address

/// A descriptor that is closed in the end, unless it is taken.
class Socket {
 public:
  explicit Socket(int descriptor = -1) : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(other.take()) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Socket() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  int get() const { return descriptor_; }
  int take() { return std::exchange(descriptor_, -1); }
  explicit operator bool() const { return descriptor_ >= 0; }

 private:
  int descriptor_;
};

Error failed(const std::string& what) { return Error{what + ": " + std::strerror(errno)}; }

void set(int socket, int level, int option, int value) { ::setsockopt(socket, level, option, &value, sizeof value); }

/// A machine that vanished says nothing: it is asked.
void watch(int socket) {
  set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(socket, IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set(socket, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(socket, IPPROTO_TCP, TCP_KEEPCNT, 4);
  set(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, 30'000);
  set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

/// Of the running system and its network: what is there twice can reach itself.
std::string place() {
  std::string boot, net;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  std::array<char, 64> link{};
  if (::readlink("/proc/self/ns/net", link.data(), link.size() - 1) > 0) net = link.data();
  return boot + " " + net;
}

/// Where this machine can be reached, its own loop first.
std::vector<std::string> own_addresses() {
  std::vector<std::string> found = {"127.0.0.1"};
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return found;
  for (const ifaddrs* at = all; at; at = at->ifa_next) {
    if (!at->ifa_addr || !(at->ifa_flags & IFF_UP) || (at->ifa_flags & IFF_LOOPBACK)) continue;
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (at->ifa_addr->sa_family == AF_INET) {
      ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr, text.data(), text.size());
    } else if (at->ifa_addr->sa_family == AF_INET6) {
      const auto& six = reinterpret_cast<const sockaddr_in6*>(at->ifa_addr)->sin6_addr;
      if (IN6_IS_ADDR_LINKLOCAL(&six)) continue;
      ::inet_ntop(AF_INET6, &six, text.data(), text.size());
    }
    if (text[0]) found.emplace_back(text.data());
  }
  ::freeifaddrs(all);
  return found;
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  int family = AF_INET;
};

Address address_of(const std::string& text, std::uint16_t port) {
  Address it;
  auto& four = reinterpret_cast<sockaddr_in&>(it.storage);
  auto& six = reinterpret_cast<sockaddr_in6&>(it.storage);
  if (::inet_pton(AF_INET, text.c_str(), &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    it.size = sizeof four;
  } else if (::inet_pton(AF_INET6, text.c_str(), &six.sin6_addr) == 1) {
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(port);
    it.size = sizeof six;
    it.family = AF_INET6;
  }
  return it;
}

/// On all of this machine's addresses, at a port of the system's choice.
Result<std::pair<Socket, std::uint16_t>> listen_anywhere() {
  for (const char* any : {"::", "0.0.0.0"}) {
    Address address = address_of(any, 0);
    Socket socket(::socket(address.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) continue;
    if (address.family == AF_INET6) set(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0) continue;
    if (::listen(socket.get(), 1024) != 0) continue;
    if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address.storage), &address.size) != 0) continue;
    const std::uint16_t port = address.family == AF_INET6
                                   ? reinterpret_cast<const sockaddr_in6&>(address.storage).sin6_port
                                   : reinterpret_cast<const sockaddr_in&>(address.storage).sin_port;
    return std::pair(std::move(socket), ntohs(port));
  }
  return failed("the first rank cannot listen for the others");
}

bool can(int socket, short what, Clock::time_point until) {
  pollfd watched{socket, what, 0};
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
  return ::poll(&watched, 1, static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 600'000))) > 0;
}

bool read_all(int socket, char* to, std::size_t size, Clock::time_point until) {
  while (size > 0) {
    if (!can(socket, POLLIN, until)) return false;
    const ssize_t got = ::recv(socket, to, size, MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return false;
    to += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

Socket connect_to(const Address& address) {
  Socket socket(::socket(address.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return socket;
  const int begun = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size);
  if (begun != 0 && errno != EINPROGRESS) return Socket();
  int problem = 0;
  socklen_t size = sizeof problem;
  if (!can(socket.get(), POLLOUT, Clock::now() + kConnect)) return Socket();
  ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &problem, &size);
  return problem ? Socket() : std::move(socket);
}

/// What the first rank tells the others, through MPI: `SECRET PORT` on a line, its place, its addresses.
struct Invitation {
  std::string secret;
  std::uint16_t port = 0;
  std::string place;
  std::vector<std::string> addresses;

  std::string text() const {
    std::ostringstream out;
    out << secret << " " << port << "\n" << place << "\n";
    for (const std::string& address : addresses) out << address << "\n";
    return out.str();
  }
  static Invitation read(const std::string& text) {
    Invitation it;
    std::istringstream in(text);
    in >> it.secret >> it.port >> std::ws;
    std::getline(in, it.place);
    for (std::string line; std::getline(in, line);) it.addresses.push_back(line);
    return it;
  }
};

std::string draw_secret() {
  std::array<unsigned char, kSecret / 2> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return "";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

/// Does not end sooner where more of it is right.
bool same(std::string_view a, std::string_view b) {
  unsigned char differ = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    differ = static_cast<unsigned char>(differ | (a[i] ^ b[i]));
  return differ == 0;
}

/// A caller's first words: the secret, then its rank in 8 digits, then who it is in 200 bytes.
constexpr std::size_t kNumber = 8, kWho = 200, kHello = kSecret + kNumber + kWho;

std::string hello(const Invitation& invitation, int rank) {
  std::string number = std::to_string(rank);
  number.insert(0, kNumber - number.size(), '0');
  std::string who = "rank " + std::to_string(rank) + " (process " + std::to_string(::getpid()) + " on " + host_name();
  who.resize(std::min(who.size(), kWho - 1));
  who += ")";
  who.resize(kWho, ' ');
  return invitation.secret + number + who;
}

Result<std::vector<Lifeline>> await_all(int listening, const Invitation& invitation, int ranks,
                                        Clock::time_point until) {
  std::vector<std::optional<Lifeline>> found(static_cast<std::size_t>(ranks - 1));
  for (auto missing = found.size(); missing > 0;) {
    if (!can(listening, POLLIN, until)) {
      const auto first = std::find(found.begin(), found.end(), std::nullopt) - found.begin() + 1;
      return Error{"rank " + std::to_string(first) + " did not reach the first one, " + host_name() +
                   ", beside MPI: the nodes of a job must be able to connect to each other over TCP"};
    }
    Socket caller(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    std::array<char, kHello> words{};
    // A stranger who says nothing must not hold the others up for long.
    if (!caller || !read_all(caller.get(), words.data(), words.size(), std::min(until, Clock::now() + 2s))) continue;
    const std::string_view all(words.data(), words.size());
    if (!same(all.substr(0, kSecret), invitation.secret)) continue;
    const int rank = std::atoi(std::string(all.substr(kSecret, kNumber)).c_str());
    if (rank < 1 || rank >= ranks || found[static_cast<std::size_t>(rank - 1)]) continue;
    std::string who(all.substr(kSecret + kNumber));
    who.resize(who.find_last_not_of(' ') + 1);
    watch(caller.get());
    found[static_cast<std::size_t>(rank - 1)].emplace(caller.take(), std::move(who));
    --missing;
  }
  std::vector<Lifeline> lines;
  for (auto& line : found) lines.push_back(*std::move(line));
  return lines;
}

Result<Lifeline> call(const Invitation& invitation, int rank) {
  const bool here = invitation.place == place();
  for (const std::string& text : invitation.addresses) {
    if (text == "127.0.0.1" && !here) continue;
    Socket socket = connect_to(address_of(text, invitation.port));
    if (!socket) continue;
    const std::string words = hello(invitation, rank);
    if (::send(socket.get(), words.data(), words.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(words.size())) continue;
    watch(socket.get());
    return Lifeline(socket.take(), "the first rank");
  }
  return Error{"rank " + std::to_string(rank) + " on " + host_name() +
               " cannot reach the first one beside MPI: the nodes of a job must be able to connect to each other over "
               "TCP"};
}

}  // namespace

Lifeline::Lifeline(int descriptor, std::string who) : descriptor_(descriptor), who_(std::move(who)) {}

Lifeline::Lifeline(Lifeline&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      who_(std::move(other.who_)),
      coming_(std::move(other.coming_)),
      gone_(other.gone_) {}

Lifeline& Lifeline::operator=(Lifeline&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(who_, other.who_);
  std::swap(coming_, other.coming_);
  std::swap(gone_, other.gone_);
  return *this;
}

Lifeline::~Lifeline() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void Lifeline::send(std::string_view message) {
  if (gone_) return;
  const auto size = static_cast<std::uint32_t>(message.size());
  std::string bytes(sizeof size, '\0');
  std::memcpy(bytes.data(), &size, sizeof size);
  bytes += message;
  const auto until = Clock::now() + 30s;
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t more = ::send(descriptor_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (more > 0) {
      sent += static_cast<std::size_t>(more);
    } else if (errno == EAGAIN) {
      if (can(descriptor_, POLLOUT, until)) continue;
      gone_ = true;  // it lives, and hears nothing
      return;
    } else if (errno != EINTR) {
      return;  // what it said last may still be read
    }
  }
}

bool Lifeline::whole() const {
  std::uint32_t size = 0;
  if (coming_.size() < sizeof size) return false;
  std::memcpy(&size, coming_.data(), sizeof size);
  return coming_.size() - sizeof size >= size;
}

void Lifeline::read() {
  std::array<char, 65536> piece{};
  while (!gone_ && coming_.size() <= kMostMessage) {
    const ssize_t got = ::recv(descriptor_, piece.data(), piece.size(), MSG_DONTWAIT);
    if (got > 0) {
      coming_.append(piece.data(), static_cast<std::size_t>(got));
    } else if (got < 0 && errno == EAGAIN) {
      return;
    } else if (got == 0 || errno != EINTR) {
      gone_ = true;
    }
  }
}

std::optional<std::string> Lifeline::take() {
  read();
  if (!whole()) {
    if (coming_.size() > kMostMessage) gone_ = true;
    return std::nullopt;
  }
  std::uint32_t size = 0;
  std::memcpy(&size, coming_.data(), sizeof size);
  std::string message = coming_.substr(sizeof size, size);
  coming_.erase(0, sizeof size + size);
  return message;
}

Result<std::pair<Lifeline, Lifeline>> make_lifeline() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    return failed("no pair of sockets can be made");
  return std::pair(Lifeline(ends[0], "the other end"), Lifeline(ends[1], "the other end"));
}

Result<std::vector<Lifeline>> draw_lifelines(Transport& ranks, std::chrono::seconds patience) {
  if (ranks.ranks() == 1) return std::vector<Lifeline>{};
  const auto until = Clock::now() + patience;
  Invitation invitation;
  Socket listening;
  Result<bool> ready = true;
  if (ranks.rank() == 0) {
    auto listens = listen_anywhere();
    invitation.secret = draw_secret();
    if (listens && !invitation.secret.empty()) {
      listening = std::move(listens->first);
      invitation.port = listens->second;
      invitation.place = place();
      invitation.addresses = own_addresses();
    } else {
      ready = listens ? failed("no secret can be drawn") : listens.error();
    }
  }
  if (auto agreed = agree(ranks, ready); !agreed) return agreed.error();
  const auto told = share_text(ranks, invitation.text(), 0);
  if (!told) return told.error();
  std::vector<Lifeline> lines;
  if (ranks.rank() == 0) {
    auto all = await_all(listening.get(), invitation, ranks.ranks(), until);
    if (all)
      lines = *std::move(all);
    else
      ready = all.error();
  } else {
    auto line = call(Invitation::read(*told), ranks.rank());
    if (line)
      lines.push_back(*std::move(line));
    else
      ready = line.error();
  }
  if (auto agreed = agree(ranks, ready); !agreed) return agreed.error();
  return lines;
}

}  // namespace orch::comm
