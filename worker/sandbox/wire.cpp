#include "sandbox/wire.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <concepts>
#include <cstring>
#include <type_traits>

namespace orch::sandbox {
namespace {

class Writer {
 public:
  template <class T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T> Writer& add(T value) {
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    bytes_.append(bytes, sizeof value);
    return *this;
  }
  Writer& add(std::string_view text) {
    add(static_cast<std::uint64_t>(text.size()));
    bytes_ += text;
    return *this;
  }
  Writer& add(const std::vector<std::string>& list) {
    add(static_cast<std::uint64_t>(list.size()));
    for (const std::string& one : list) add(one);
    return *this;
  }
  std::string frame() const { return Writer().add(static_cast<std::uint64_t>(bytes_.size())).bytes_ + bytes_; }

 private:
  std::string bytes_;
};

/// Gives nothing of the right kind when the bytes end early; ok() tells.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  template <class T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void get(T& value) {
    const std::string_view taken = take(sizeof value);
    if (taken.size() == sizeof value) std::memcpy(&value, taken.data(), sizeof value);
  }
  void get(std::string& text) {
    std::uint64_t length = 0;
    get(length);
    text = take(length);
  }
  void get(std::vector<std::string>& list) {
    std::uint64_t length = 0;
    get(length);
    for (; length > 0 && ok_; --length) get(list.emplace_back());
  }
  bool ok() const { return ok_ && bytes_.empty(); }
  bool goes_on() const { return ok_; }

 private:
  std::string_view take(std::uint64_t length) {
    if (length > bytes_.size()) ok_ = false;
    if (!ok_) return {};
    const std::string_view taken = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
    return taken;
  }

  std::string_view bytes_;
  bool ok_ = true;
};

}  // namespace

std::string write(const Request& request) {
  const auto& [program, limits] = request;
  Writer writer;
  writer.add(program.run).add(program.environment).add(program.read_only).add(program.secret);
  writer.add(static_cast<std::uint64_t>(program.files.size()));
  for (const File& file : program.files) writer.add(file.name).add(file.content);
  writer.add(limits.wall.count()).add(limits.cpu.count()).add(limits.memory).add(limits.address_space);
  writer.add(limits.disk).add(limits.output).add(limits.kept).add(limits.processes).add(limits.open_files);
  return writer.frame();
}

std::optional<Request> read_request(std::string_view bytes) {
  Request request;
  auto& [program, limits] = request;
  Reader reader(bytes);
  reader.get(program.run);
  reader.get(program.environment);
  reader.get(program.read_only);
  reader.get(program.secret);
  std::uint64_t files = 0;
  reader.get(files);
  for (; files > 0 && reader.goes_on(); --files) {
    File& file = program.files.emplace_back();
    reader.get(file.name);
    reader.get(file.content);
  }
  std::chrono::milliseconds::rep wall = 0;
  std::chrono::seconds::rep cpu = 0;
  reader.get(wall);
  reader.get(cpu);
  limits.wall = std::chrono::milliseconds(wall);
  limits.cpu = std::chrono::seconds(cpu);
  for (std::uint64_t* number : {&limits.memory, &limits.address_space, &limits.disk, &limits.output, &limits.kept})
    reader.get(*number);
  reader.get(limits.processes);
  reader.get(limits.open_files);
  if (!reader.ok()) return std::nullopt;
  return request;
}

std::string write(const Outcome& outcome) {
  Writer writer;
  writer.add(outcome.end).add(outcome.code).add(outcome.why).add(outcome.output).add(outcome.errors);
  writer.add(outcome.report).add(outcome.seconds).add(outcome.cpu_seconds).add(outcome.memory);
  return writer.frame();
}

std::optional<Outcome> read_outcome(std::string_view bytes) {
  Outcome outcome;
  Reader reader(bytes);
  reader.get(outcome.end);
  reader.get(outcome.code);
  for (std::string* text : {&outcome.why, &outcome.output, &outcome.errors, &outcome.report}) reader.get(*text);
  reader.get(outcome.seconds);
  reader.get(outcome.cpu_seconds);
  reader.get(outcome.memory);
  if (!reader.ok() || outcome.end > End::kRefused) return std::nullopt;
  return outcome;
}

std::optional<std::string> receive(int descriptor, std::size_t most) {
  std::string bytes;
  std::uint64_t length = 0;
  const auto fill = [&](std::size_t wanted) {
    std::size_t have = 0;
    bytes.resize(wanted);
    while (have < wanted) {
      const ssize_t got = ::read(descriptor, bytes.data() + have, wanted - have);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      have += static_cast<std::size_t>(got);
    }
    return true;
  };
  if (!fill(sizeof length)) return std::nullopt;
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > most || !fill(length)) return std::nullopt;
  return bytes;
}

bool send(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

}  // namespace orch::sandbox
