#include "base/template/token_reader.h"

#include <array>

#include "base/template/characters.h"
#include "base/text.h"

namespace orch::tmpl {
namespace {

constexpr std::array<std::string_view, 12> kReserved = {"and",  "or",   "not", "in",        "is",     "if",
                                                        "else", "elif", "for", "recursive", "import", "endfor"};

std::string describe(const Token& token) {
  switch (token.kind) {
    case Token::Kind::kEnd:
      return "the end of the template";
    case Token::Kind::kOutputEnd:
      return "'}}'";
    case Token::Kind::kBlockEnd:
      return "'%}'";
    case Token::Kind::kText:
    case Token::Kind::kOutputBegin:
    case Token::Kind::kBlockBegin:
      return "the end of the tag";
    case Token::Kind::kString:
      return "the text " + quote(token.text);
    default:
      return quote(token.text);
  }
}

}  // namespace

void TokenReader::need_op(std::string_view op) {
  if (!skip_op(op)) expected(quote(op));
}

const std::string& TokenReader::need_word(std::string_view what) {
  if (!is(Token::Kind::kName)) expected(what);
  return take().text;
}

const std::string& TokenReader::need_name(std::string_view what) {
  if (is(Token::Kind::kName) && among(kReserved, now().text))
    fail(now(), "expected " + std::string(what) + "; " + quote(now().text) + " is a word of the language");
  return need_word(what);
}

void TokenReader::expected(std::string_view what) const {
  fail(now(), "expected " + std::string(what) + ", found " + describe(now()));
}

TokenReader::Nesting::Nesting(TokenReader& r) : reader(r) {
  if (++reader.nesting_ > reader.options_.most_depth)
    reader.fail(reader.now(), "nested more than " + std::to_string(reader.options_.most_depth) + " deep");
}

}  // namespace orch::tmpl
