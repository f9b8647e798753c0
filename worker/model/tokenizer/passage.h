// A text on its way to tokens: cut into pieces, rewritten by normalisers, and still knowing which bytes of the text
// that was given each of its bytes stands for.
//
// Holds:
//  - The text is sound UTF-8 and every piece begins and ends between characters.
//  - Rewriting makes at most 64 times as much of a text, and a mebibyte: then it stops.
//  - Origins are kept only when they are asked for: encoding without places costs nothing for them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer/unicode.h"

namespace orch::tokenizer {

using TokenId = std::uint32_t;

/// Bytes [begin, end) of the text that was given.
struct Span {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  friend bool operator==(const Span&, const Span&) = default;
};

/// A stretch of the passage's text: open, or already the token that it is.
struct Piece {
  static constexpr TokenId kOpen = 0xFFFFFFFF;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  TokenId token = kOpen;
};

class Passage {
 public:
  /// Begins anew with one piece, or none when the text is empty. Bytes that are not UTF-8 become U+FFFD. The text must
  /// stay until the passage is done with.
  void start(std::string_view given, bool tracked);

  /// Whether rewriting made so much more of the text that it was stopped: what is there then is of no use.
  bool overflowed() const { return overflowed_; }

  std::string_view text() const { return text_; }
  std::string_view text(const Piece& piece) const { return text_.substr(piece.begin, piece.end - piece.begin); }

  /// Which bytes of the given text the text's bytes [begin, end) stand for. Only while tracked, or never rewritten.
  Span origin(std::uint32_t begin, std::uint32_t end) const;

  std::vector<Piece> pieces;

  /// Writes one piece's new text. What it is given counts from the piece's beginning.
  class Writer {
   public:
    /// Bytes [begin, end) as they are.
    void copy(std::size_t begin, std::size_t end);
    /// Text that was not there. Its origin is that of the byte before `at`, as of all that is inserted.
    void insert(std::string_view text, std::size_t at);
    /// Text in place of the character that begins at `at`, or beside it: its origin is that character's.
    void put(std::string_view text, std::size_t at);
    /// Where in the given text the piece begins.
    std::uint32_t source() const { return origin_of(0).begin; }
    /// The whole piece, changed; `skipped` characters at its beginning are gone.
    void change(std::span<const Change> changes, std::size_t skipped);

   private:
    friend class Passage;
    bool room();
    explicit Writer(Passage& passage) : passage_(passage) {}
    Span origin_of(std::size_t at) const;
    Passage& passage_;
    std::uint32_t begin_ = 0;  ///< of the piece, in the text before
    std::uint32_t end_ = 0;
  };

  /// Rewrites every open piece by `write(text of the piece, writer)`; pieces that become empty are gone.
  template <class Write>
  void rewrite(Write write) {
    begin_rewrite();
    Writer writer(*this);
    std::size_t kept = 0;
    for (Piece piece : pieces) {
      const auto begin = static_cast<std::uint32_t>(next_.size());
      writer.begin_ = piece.begin;
      writer.end_ = piece.end;
      if (piece.token == Piece::kOpen) {
        write(text(piece), writer);
      } else {
        writer.copy(0, piece.end - piece.begin);
      }
      const auto end = static_cast<std::uint32_t>(next_.size());
      if (end > begin) pieces[kept++] = {begin, end, piece.token};
    }
    pieces.resize(kept);
    end_rewrite();
  }

 private:
  void begin_rewrite();
  void end_rewrite();
  Span byte_origin(std::size_t at) const;
  void mend(std::string_view given);

  std::string_view text_;
  std::string own_;        ///< the text, once it was rewritten
  std::string next_;       ///< the text that is being written
  std::size_t limit_ = 0;  ///< bytes that rewriting may make of it
  bool overflowed_ = false;
  bool tracked_ = false;
  bool identity_ = true;       ///< every character stands for itself
  std::vector<Span> origins_;  ///< of each byte, once rewritten and if tracked
  std::vector<Span> next_origins_;
};

}  // namespace orch::tokenizer
