// Cutting pieces where something matches, and what becomes of the matches.
#pragma once

#include <utility>
#include <vector>

#include "model/tokenizer/passage.h"

namespace orch::tokenizer {

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// Receives a piece's matches from left to right and makes its new pieces of them and of what lies between.
class Cutter {
 public:
  Cutter(std::vector<Piece>& out, Behavior behavior, bool inverted)
      : out_(out), behavior_(behavior), inverted_(inverted) {}

  void begin(const Piece& piece) {
    start_ = at_ = piece.begin;
    first_ = out_.size();
    before_ = false;
  }
  /// Bytes of the piece, counted from its beginning.
  void match(std::size_t begin, std::size_t end) {
    const auto from = start_ + static_cast<std::uint32_t>(begin);
    if (from != at_) part(at_, from, inverted_);
    at_ = start_ + static_cast<std::uint32_t>(end);
    part(from, at_, !inverted_);
  }
  void end(const Piece& piece) {
    if (at_ != piece.end) part(at_, piece.end, inverted_);
  }

 private:
  void part(std::uint32_t begin, std::uint32_t end, bool matched) {
    // What stands alone in a text of its own is a piece that later parts may join, even when it is empty; such empty
    // pieces are swept out by split().
    bool join = false;
    switch (behavior_) {
      case Behavior::kRemoved:
        if (matched) return;
        break;
      case Behavior::kIsolated:
        break;
      case Behavior::kContiguous:
        join = matched == before_;
        break;
      case Behavior::kMergedWithPrevious:
        join = matched && !before_;
        break;
      case Behavior::kMergedWithNext:
        join = !matched && before_;
        break;
    }
    if (join && out_.size() > first_) {
      out_.back().end = end;
    } else {
      out_.push_back({begin, end, Piece::kOpen});
    }
    before_ = matched;
  }

  std::vector<Piece>& out_;
  Behavior behavior_;
  bool inverted_;
  std::uint32_t start_ = 0;
  std::uint32_t at_ = 0;
  std::size_t first_ = 0;
  bool before_ = false;
};

/// Cuts every open piece: `find(text, cutter)` reports the matches. `spare` is memory to work in.
template <class Find>
void split(Passage& passage, std::vector<Piece>& spare, Behavior behavior, bool inverted, Find find) {
  spare.clear();
  Cutter cutter(spare, behavior, inverted);
  for (const Piece& piece : passage.pieces) {
    if (piece.token != Piece::kOpen) {
      spare.push_back(piece);
      continue;
    }
    cutter.begin(piece);
    find(passage.text(piece), cutter);
    cutter.end(piece);
  }
  std::erase_if(spare, [](const Piece& piece) { return piece.begin == piece.end; });
  passage.pieces.swap(spare);
}

}  // namespace orch::tokenizer
