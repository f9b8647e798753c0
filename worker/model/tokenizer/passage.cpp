#include "model/tokenizer/passage.h"

#include <algorithm>
#include <cstring>

#include "model/tokenizer/utf8.h"

namespace orch::tokenizer {

void Passage::start(std::string_view given, bool tracked) {
  pieces.clear();
  origins_.clear();
  tracked_ = tracked;
  identity_ = true;
  limit_ = given.size() * 64 + (std::size_t{1} << 20);
  overflowed_ = false;
  text_ = given;
  if (!sound_utf8(given)) mend(given);
  if (!text_.empty()) pieces.push_back({0, static_cast<std::uint32_t>(text_.size()), Piece::kOpen});
}

void Passage::mend(std::string_view given) {
  own_.clear();
  for (std::size_t at = 0; at < given.size();) {
    const Utf8Step step = utf8_step(given, at);
    const std::string_view put = step.sound ? given.substr(at, step.size) : kReplacement;
    own_ += put;
    if (tracked_)
      origins_.insert(origins_.end(), put.size(),
                      {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(at + step.size)});
    at += step.size;
  }
  text_ = own_;
  identity_ = false;
}

Span Passage::byte_origin(std::size_t at) const {
  if (!identity_) return origins_[at];
  while (at > 0 && continues(text_[at])) --at;
  const auto begin = static_cast<std::uint32_t>(at);
  return {begin, begin + character_at(text_, at).size};
}

Span Passage::origin(std::uint32_t begin, std::uint32_t end) const {
  return {byte_origin(begin).begin, byte_origin(end - 1).end};
}

void Passage::begin_rewrite() {
  next_.clear();
  next_origins_.clear();
}

void Passage::end_rewrite() {
  own_.swap(next_);
  origins_.swap(next_origins_);
  text_ = own_;
  identity_ = false;
}

Span Passage::Writer::origin_of(std::size_t at) const { return passage_.byte_origin(begin_ + at); }

bool Passage::Writer::room() {
  if (passage_.next_.size() > passage_.limit_) passage_.overflowed_ = true;
  return !passage_.overflowed_;
}

void Passage::Writer::copy(std::size_t begin, std::size_t end) {
  if (!room()) return;
  passage_.next_ += passage_.text_.substr(begin_ + begin, end - begin);
  if (!passage_.tracked_) return;
  auto& out = passage_.next_origins_;
  if (!passage_.identity_) {
    const auto first = passage_.origins_.begin() + static_cast<std::ptrdiff_t>(begin_);
    out.insert(out.end(), first + static_cast<std::ptrdiff_t>(begin), first + static_cast<std::ptrdiff_t>(end));
  } else {
    for (std::size_t at = begin; at < end;) {
      const Span span = origin_of(at);
      out.insert(out.end(), span.end - span.begin, span);
      at += span.end - span.begin;
    }
  }
}

void Passage::Writer::insert(std::string_view text, std::size_t at) {
  if (!room()) return;
  passage_.next_ += text;
  if (!passage_.tracked_) return;
  const std::uint32_t first = origin_of(0).begin;
  passage_.next_origins_.insert(passage_.next_origins_.end(), text.size(),
                                at == 0 ? Span{first, first} : origin_of(at - 1));
}

void Passage::Writer::put(std::string_view text, std::size_t at) {
  if (!room()) return;
  passage_.next_ += text;
  if (passage_.tracked_) passage_.next_origins_.insert(passage_.next_origins_.end(), text.size(), origin_of(at));
}

void Passage::Writer::change(std::span<const Change> changes, std::size_t skipped) {
  if (!room()) return;
  if (!passage_.tracked_) {
    for (const Change& change : changes) append_utf8(passage_.next_, change.value);
    return;
  }
  const std::size_t size = end_ - begin_;
  std::size_t at = 0;  // the next character of the text before
  const auto skip = [&](std::size_t characters) {
    for (; characters > 0 && at < size; --characters) at += character_at(passage_.text_, begin_ + at).size;
  };
  skip(skipped);
  for (const Change& change : changes) {
    Span origin;
    if (change.change > 0) {
      const std::uint32_t first = origin_of(0).begin;
      origin = at == 0 ? Span{first, first} : origin_of(at - 1);
    } else {
      origin = origin_of(std::min(at, size - 1));
      skip(1 + static_cast<std::size_t>(-change.change));
    }
    append_utf8(passage_.next_, change.value);
    passage_.next_origins_.resize(passage_.next_.size(), origin);
  }
}

}  // namespace orch::tokenizer
