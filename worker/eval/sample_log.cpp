#include "eval/sample_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <limits>
#include <sstream>
#include <system_error>

#include "base/diagnostics.h"
#include "base/text.h"
#include "base/yaml.h"

namespace orch::eval {
namespace {

constexpr std::size_t kMostBytes = std::size_t{16} << 30;

/// JSON has no NaN and no infinity.
Json number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

double read_number(const Json& value) {
  if (value.is_number()) return value.get<double>();
  const std::string text = value.get<std::string>();
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  throw std::invalid_argument("a number was expected, found " + quote(text));
}

std::string head_line(const RunHead& head) {
  return Json{{"task", head.task}, {"digest", head.digest}, {"samples", head.samples}}.dump();
}

Error failed(const std::filesystem::path& file, const std::string& doing) {
  return Error{file.string() + " cannot be " + doing + ": " + std::generic_category().message(errno)};
}

Result<std::monostate> write_all(int descriptor, const std::filesystem::path& file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return failed(file, "written");
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fdatasync(descriptor) != 0) return failed(file, "written");
  return std::monostate{};
}

}  // namespace

std::string log_line(const SampleScore& sample) {
  Json line{{"sample", sample.sample}};
  Json& answers = line["answers"] = Json::array();
  for (const Answer& answer : sample.answers) {
    if (const auto* likelihood = std::get_if<Likelihood>(&answer.what))
      answers.push_back({{"index", answer.id.index},
                         {"logprob", number(likelihood->logprob)},
                         {"greedy", likelihood->is_greedy},
                         {"tokens", likelihood->tokens}});
    else
      answers.push_back({{"index", answer.id.index},
                         {"text", std::get<Generated>(answer.what).text},
                         {"tokens", std::get<Generated>(answer.what).tokens}});
  }
  if (!sample.extracted.empty()) line["extracted"] = sample.extracted;
  Json& scores = line["scores"] = Json::array();
  for (const double score : sample.scores) scores.push_back(number(score));
  // A model may give bytes that are no UTF-8; a log is.
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<SampleScore> parse_log_line(std::string_view line) {
  try {
    const Json json = Json::parse(line);
    SampleScore sample;
    sample.sample = json.at("sample").get<std::uint64_t>();
    for (const Json& item : json.at("answers")) {
      Answer answer{{sample.sample, item.at("index").get<std::uint32_t>()}, {}};
      if (item.contains("text"))
        answer.what = Generated{item.at("text").get<std::string>(), item.at("tokens").get<int>()};
      else
        answer.what =
            Likelihood{read_number(item.at("logprob")), item.at("greedy").get<bool>(), item.at("tokens").get<int>()};
      sample.answers.push_back(std::move(answer));
    }
    if (json.contains("extracted")) json.at("extracted").get_to(sample.extracted);
    for (const Json& score : json.at("scores")) sample.scores.push_back(read_number(score));
    return sample;
  } catch (const std::exception& error) {  // what nlohmann's getters and read_number() throw
    return Error{"no line of a sample: " + shown(error.what())};
  }
}

namespace {

/// What a log holds: its samples, each once, and how many of its bytes are whole lines.
struct Read {
  std::vector<SampleScore> samples;
  std::size_t whole = 0;
  bool torn = false;
};

Result<Read> read_whole(const std::filesystem::path& file, const RunHead& head) {
  Read read;
  std::error_code missing;
  if (!std::filesystem::exists(file, missing)) return read;
  Diagnostics diagnostics;
  const auto text = read_file(file, kMostBytes, diagnostics);
  if (!text) {
    std::ostringstream why;
    diagnostics.print(why);
    return Error{std::string(trim(why.str()))};
  }
  read.whole = text->rfind('\n') + 1;  // behind the last line that has an end; 0 without any
  read.torn = read.whole < text->size();
  std::set<std::uint64_t> known;
  for (std::size_t number = 1, from = 0; from < read.whole; ++number) {
    const std::size_t end = text->find('\n', from);
    const std::string_view line = std::string_view(*text).substr(from, end - from);
    from = end + 1;
    if (number == 1) {
      if (line != head_line(head))
        return Error{file.string() + " is the log of another run: " + shown(line, 200) + ", not " + head_line(head)};
      continue;
    }
    auto sample = parse_log_line(line);
    if (!sample) return Error{file.string() + ":" + std::to_string(number) + ": " + sample.error().what};
    if (known.insert(sample->sample).second) read.samples.push_back(std::move(*sample));
  }
  return read;
}

}  // namespace

Result<std::vector<SampleScore>> read_log(const std::filesystem::path& file, const RunHead& head) {
  auto read = read_whole(file, head);
  if (!read) return read.error();
  return std::move(read->samples);
}

Result<SampleLog> SampleLog::open(const std::filesystem::path& file, const RunHead& head) {
  auto read = read_whole(file, head);
  if (!read) return read.error();
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor < 0) return failed(file, "opened");
  SampleLog log(file, descriptor);
  log.samples_ = std::move(read->samples);
  for (const SampleScore& sample : log.samples_) log.known_.insert(sample.sample);
  if (read->torn && ::ftruncate(descriptor, static_cast<off_t>(read->whole)) != 0) return failed(file, "cut");
  if (read->whole == 0)
    if (auto written = write_all(descriptor, file, head_line(head) + "\n"); !written) return written.error();
  return log;
}

SampleLog::SampleLog(SampleLog&& other) noexcept
    : file_(std::move(other.file_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      samples_(std::move(other.samples_)),
      known_(std::move(other.known_)) {}

SampleLog& SampleLog::operator=(SampleLog&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(samples_, other.samples_);
  std::swap(known_, other.known_);
  return *this;
}

SampleLog::~SampleLog() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<std::monostate> SampleLog::append(std::span<const SampleScore> samples) {
  std::string lines;
  std::vector<const SampleScore*> added;
  for (const SampleScore& sample : samples) {
    if (!known_.insert(sample.sample).second) continue;
    lines += log_line(sample) + "\n";
    added.push_back(&sample);
  }
  const off_t whole = ::lseek(descriptor_, 0, SEEK_END);
  if (auto written = write_all(descriptor_, file_, lines); !written) {
    // No half line may stand before what is added later; if this fails too, it is cut off when the log is opened again.
    static_cast<void>(::ftruncate(descriptor_, whole));
    for (const SampleScore* sample : added) known_.erase(sample->sample);
    return written;
  }
  for (const SampleScore* sample : added) samples_.push_back(*sample);
  return std::monostate{};
}

}  // namespace orch::eval
