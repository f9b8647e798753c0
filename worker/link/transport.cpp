#include "link/transport.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include <nlohmann/json.hpp>

#include "base/whole_file.h"

#include "link/directory.h"

namespace orch::worker {
namespace {

namespace fs = std::filesystem;

constexpr auto kLook = std::chrono::milliseconds(100);
constexpr std::size_t kMostWhy = 500;  // bytes

/// An answer in a file is `{"status": 200, "body": …}`: the HTTP status, and what would have been the body.
Reply reply_of_file(const std::string& text) {
  const auto answer = nlohmann::json::parse(text, nullptr, false);
  if (!answer.is_object() || !answer.contains("status") || !answer["status"].is_number_integer())
    return {Reply::What::kAway, "", "the answer cannot be read"};
  const int status = answer["status"].get<int>();
  const std::string body = answer.contains("body") ? answer["body"].dump() : "";
  return worker::reply_of(status, body);
}

/// The sentence of an error's body, or the body.
std::string why_of(int status, const std::string& body) {
  const auto answer = nlohmann::json::parse(body, nullptr, false);
  if (answer.is_object() && answer.contains("error") && answer["error"].is_object() &&
      answer["error"].contains("what") && answer["error"]["what"].is_string())
    return answer["error"]["what"].get<std::string>();
  return "status " + std::to_string(status) + (body.empty() ? "" : ": " + body.substr(0, kMostWhy));
}

}  // namespace

Reply reply_of(int status, std::string body) {
  if (status == 200) return {Reply::What::kOk, std::move(body), ""};
  const std::string why = why_of(status, body);
  switch (status) {
    case 401:
    case 403:
    case 404:
    case 409:
    case 410:
      return {Reply::What::kGone, "", why};
    case 408:
    case 429:
      return {Reply::What::kAway, "", why};
    default:
      return {status >= 400 && status < 500 ? Reply::What::kRefused : Reply::What::kAway, "", why};
  }
}

FileTransport::FileTransport(fs::path directory, std::chrono::milliseconds timeout)
    : out_(directory / "mail" / "out"), in_(directory / "mail" / "in"), timeout_(timeout) {
  fs::create_directories(out_);
  fs::create_directories(in_);
  // After a requeue the numbers go on, so that no old answer is taken for a new one.
  for (const fs::path& folder : {out_, in_})
    for (const auto& file : fs::directory_iterator(folder)) {
      unsigned number = 0;
      if (std::sscanf(file.path().filename().c_str(), "%6u", &number) == 1) next_ = std::max(next_, number + 1);
    }
}

Reply FileTransport::call(std::string_view verb, const std::string& body) {
  char number[16];
  std::snprintf(number, sizeof number, "%06u", next_++);
  const fs::path question = out_ / (std::string(number) + "-" + std::string(verb) + ".json");
  const fs::path answer = in_ / (std::string(number) + ".json");
  if (auto written = write_whole(question, body); !written) return {Reply::What::kAway, "", written.error().what};
  std::error_code ignored;
  const auto until = std::chrono::steady_clock::now() + timeout_;
  while (std::chrono::steady_clock::now() < until) {
    std::ifstream in(answer, std::ios::binary);
    if (in) {
      std::ostringstream text;
      text << in.rdbuf();
      fs::remove(answer, ignored);
      return reply_of_file(text.str());
    }
    std::this_thread::sleep_for(kLook);
  }
  fs::remove(question, ignored);  // it is said again with another number
  return {Reply::What::kAway, "", "no answer came"};
}

Mailman::Mailman(Transport& transport) : transport_(transport), ready_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (ready_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  thread_ = std::thread([this] { run(); });
}

Mailman::~Mailman() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
  ::close(ready_);
}

void Mailman::send(std::string verb, std::string body) {
  busy_ = true;
  {
    const std::lock_guard lock(mutex_);
    letter_.emplace(std::move(verb), std::move(body));
  }
  wake_.notify_one();
}

std::optional<Mailman::Answered> Mailman::take() {
  const std::lock_guard lock(mutex_);
  if (!answer_) return std::nullopt;
  std::uint64_t count = 0;
  static_cast<void>(::read(ready_, &count, sizeof count));
  busy_ = false;
  std::optional<Answered> answer;
  answer.swap(answer_);
  return answer;
}

void Mailman::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || letter_; });
    if (!letter_) return;
    const auto [verb, body] = *std::exchange(letter_, std::nullopt);
    lock.unlock();
    Reply reply = transport_.call(verb, body);
    lock.lock();
    answer_ = Answered{verb, std::move(reply)};
    const std::uint64_t one = 1;
    static_cast<void>(::write(ready_, &one, sizeof one));
  }
}

}  // namespace orch::worker
