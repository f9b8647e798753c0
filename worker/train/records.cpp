#include "train/records.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include "base/text.h"

namespace orch::train {
namespace {

bool is_space(int byte) { return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r'; }

/// What the first bytes say a file is that has no text in it; or nothing.
std::string_view foreign(std::string_view begin) {
  if (begin.starts_with("PAR1")) return "a Parquet file";
  if (begin.starts_with("\x1F\x8B")) return "packed with gzip";
  if (begin.starts_with("\x28\xB5\x2F\xFD")) return "packed with zstd";
  if (begin.starts_with("ARROW1") || begin.starts_with(std::string_view("\xFF\xFF\xFF\xFF", 4))) return "an Arrow file";
  return {};
}

}  // namespace

int Records::peek() {
  if (at_ == size_) {
    if (!file_) return kEnd;
    file_.read(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
    at_ = 0;
    size_ = static_cast<std::size_t>(file_.gcount());
    if (size_ == 0) return kEnd;
  }
  return static_cast<unsigned char>(buffer_[at_]);
}

void Records::take() {
  if (buffer_[at_++] == '\n') {
    ++line_;
    column_ = 1;
  } else {
    ++column_;
  }
}

void Records::pass_white_space() {
  while (is_space(peek())) take();
}

Place Records::here() const {
  constexpr std::int64_t kMost = std::numeric_limits<int>::max();
  return {name_, static_cast<int>(std::min(line_, kMost)), static_cast<int>(std::min(column_, kMost))};
}

void Records::keep(std::string_view bytes) {
  too_long_ = too_long_ || bytes.size() > kMostBytes - text_.size();
  if (!too_long_) text_ += bytes;
}

std::optional<Record> Records::kept(const Place& place) {
  if (too_long_) {
    diagnostics_.error(place, "a row of more than " + std::to_string(kMostBytes >> 20) + " MiB");
    return std::nullopt;
  }
  while (!text_.empty() && is_space(text_.back())) text_.pop_back();
  return Record{std::exchange(text_, {}), place};
}

void Records::begin() {
  form_ = Form::kLines;
  if (peek() == kEnd) return;
  std::string_view bytes(buffer_.data(), size_);
  if (const std::string_view what = foreign(bytes); !what.empty()) {
    diagnostics_.error({name_}, "is " + std::string(what) + "; a data set is JSON Lines, or one JSON array of objects");
    form_ = Form::kOver;
    return;
  }
  if (bytes.starts_with("\xEF\xBB\xBF")) at_ += 3;  // some editors begin a file with this mark
  pass_white_space();
  if (peek() != '[') return;
  form_ = Form::kArray;
  take();
}

std::optional<Record> Records::next() {
  if (form_ == Form::kUnknown) begin();
  while (form_ == Form::kLines || form_ == Form::kArray) {
    text_.clear();
    too_long_ = false;
    if (auto record = form_ == Form::kLines ? next_line() : next_element()) return record;
  }
  if (file_.bad()) {
    diagnostics_.error({name_}, "cannot be read to its end");
    file_.clear(std::ios::eofbit);  // said once
  }
  return std::nullopt;
}

std::optional<Record> Records::next_line() {
  pass_white_space();
  const Place place = here();
  if (peek() == kEnd) {
    form_ = Form::kOver;
    return std::nullopt;
  }
  while (peek() != kEnd && buffer_[at_] != '\n') {
    const std::string_view ahead(buffer_.data() + at_, size_ - at_);
    const std::string_view part = ahead.substr(0, ahead.find('\n'));
    keep(part);
    at_ += part.size();
    column_ += static_cast<std::int64_t>(part.size());
  }
  return kept(place);
}

std::optional<Record> Records::next_element() {
  pass_white_space();
  const Place place = here();
  if (peek() == ']' && first_) {
    end_of_array();
    return std::nullopt;
  }
  first_ = false;
  std::int64_t depth = 0;
  bool in_string = false, escaped = false;
  while (true) {
    const int byte = peek();
    if (byte == kEnd) {
      diagnostics_.error(here(), "the file ends within its array: expected , or ]");
      form_ = Form::kOver;
      return std::nullopt;
    }
    if (!in_string && depth == 0 && (byte == ',' || byte == ']')) break;
    if (in_string) {
      in_string = escaped || byte != '"';
      escaped = !escaped && byte == '\\';
    } else if (byte == '"') {
      in_string = true;
    } else if (byte == '{' || byte == '[') {
      ++depth;
    } else if ((byte == '}' || byte == ']') && depth > 0) {
      --depth;
    }
    keep(std::string_view(buffer_.data() + at_, 1));
    take();
  }
  const bool last = peek() == ']';
  std::optional<Record> record;
  if (text_.empty())
    diagnostics_.error(here(), last ? "expected a row behind the comma, found ]" : "expected a row, found a comma");
  else
    record = kept(place);
  if (last)
    end_of_array();
  else
    take();
  return record;
}

void Records::end_of_array() {
  take();
  pass_white_space();
  if (peek() != kEnd) diagnostics_.error(here(), "expected the file's end behind its array");
  form_ = Form::kOver;
}

}  // namespace orch::train
