#include "sandbox/wire.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "frame/frame.h"

namespace orch::sandbox {

using frame::Reader, frame::Writer;

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

}  // namespace orch::sandbox
