#include "run/program.h"

#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <string_view>
#include <utility>

#include "base/text.h"

namespace orch::worker {
namespace {

constexpr auto kGrace = std::chrono::seconds(10);  // between SIGTERM and SIGKILL when the time is over

}  // namespace

Result<Program, StartError> Program::start(Starter& starter, const Order& order, Clock::time_point until) {
  const auto started = starter.start(order);
  if (!started) return started.error();
  return Program(starter, *started, until);
}

Program::Program(Program&& other) noexcept
    : starter_(std::exchange(other.starter_, nullptr)),
      started_(other.started_),
      until_(other.until_),
      kill_at_(other.kill_at_),
      out_of_time_(other.out_of_time_),
      killed_(other.killed_) {}

Program& Program::operator=(Program&& other) noexcept {
  std::swap(starter_, other.starter_);
  std::swap(started_, other.started_);
  std::swap(until_, other.until_);
  std::swap(kill_at_, other.kill_at_);
  std::swap(out_of_time_, other.out_of_time_);
  std::swap(killed_, other.killed_);
  return *this;
}

Program::~Program() {
  if (!starter_) return;
  starter_->kill(started_.number, SIGKILL);
  starter_->forget(started_.number);
}

void Program::stop(Clock::duration grace) {
  if (!starter_) return;
  const auto at = Clock::now() + grace;
  if (!kill_at_) starter_->kill(started_.number, SIGTERM);
  kill_at_ = std::min(kill_at_.value_or(at), at);
}

std::optional<Ending> Program::poll(Clock::time_point now) {
  if (!starter_) return std::nullopt;
  if (now >= until_ && !kill_at_) {
    out_of_time_ = true;
    stop(kGrace);
  }
  if (kill_at_ && now >= *kill_at_ && !killed_) {
    starter_->kill(started_.number, SIGKILL);
    killed_ = true;
  }
  const auto status = starter_->ended(started_.number);
  if (!status) return std::nullopt;
  starter_ = nullptr;
  Ending ending;
  ending.out_of_time = out_of_time_;
  if (WIFEXITED(*status)) ending.code = WEXITSTATUS(*status);
  if (WIFSIGNALED(*status)) ending.signal = WTERMSIG(*status);
  return ending;
}

Program::Clock::time_point Program::due() const {
  if (!starter_ || killed_) return Clock::time_point::max();
  return kill_at_.value_or(until_);
}

std::string last_lines(const std::filesystem::path& log, std::size_t most) {
  std::ifstream in(log, std::ios::binary | std::ios::ate);
  if (!in) return "";
  const auto size = static_cast<std::size_t>(in.tellg());
  const std::size_t from = size > most ? size - most : 0;
  in.seekg(static_cast<std::streamoff>(from));
  std::string text(size - from, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (from > 0)
    if (const std::size_t line = text.find('\n'); line != std::string::npos && line + 1 < text.size())
      text.erase(0, line + 1);
  std::string shown;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line(text.data() + begin, end - begin);
    while (line.ends_with('\r')) line.remove_suffix(1);
    shown.append(line.substr(line.rfind('\r') + 1)).append("\n");
    begin = end + 1;
  }
  while (!shown.empty() && shown.back() == '\n') shown.pop_back();
  return shown;
}

}  // namespace orch::worker
