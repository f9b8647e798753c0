#include "http/message.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/text.h"

namespace orch::http {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

const std::string* find_in(const Pairs& pairs, std::string_view name) {
  for (const auto& [key, value] : pairs)
    if (key == name) return &value;
  return nullptr;
}

}  // namespace

bool Secret::matches(std::string_view text) const {
  if (text_.empty() || text.size() != text_.size()) return false;
  return CRYPTO_memcmp(text_.data(), text.data(), text.size()) == 0;
}

std::ostream& operator<<(std::ostream& out, const Secret& secret) {
  return out << (secret.empty() ? "(none)" : "(secret)");
}

const std::string* Request::asked(std::string_view name) const { return find_in(query, name); }

const std::string& Request::part(std::string_view name) const {
  static const std::string kNone;
  const std::string* found = find_in(parts, name);
  return found ? *found : kNone;
}

const std::string* Response::header(std::string_view name) const {
  for (const auto& [key, value] : headers)
    if (lower(key) == lower(name)) return &value;
  return nullptr;
}

Response error_response(int status, std::string_view what) {
  const nlohmann::json body = {{"error", {{"status", status}, {"what", what}}}};
  Response response;
  response.status = status;
  response.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  return response;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_blank) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (c == '+' && plus_is_blank) {
      c = ' ';
    }
    if (c == '\0') return std::nullopt;
    decoded += c;
  }
  if (!is_utf8(decoded)) return std::nullopt;
  return decoded;
}

std::string percent_encode(std::string_view text) {
  static constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    if (is_unreserved(c)) {
      encoded += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded += '%';
    encoded += kDigits[byte / 16];
    encoded += kDigits[byte % 16];
  }
  return encoded;
}

std::optional<Target> split_target(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (lower(target.substr(0, scheme.size())) != scheme) continue;
    target.remove_prefix(scheme.size());
    const std::size_t slash = target.find_first_of("/?");
    if (slash == std::string_view::npos) return Target{"/", {}};
    if (target[slash] == '?') return std::nullopt;
    target.remove_prefix(slash);
    break;
  }
  if (target == "*") return Target{"*", {}};
  if (!target.starts_with('/') || target.find('#') != std::string_view::npos) return std::nullopt;
  Target split;
  const std::size_t question = target.find('?');
  split.path = target.substr(0, question);
  if (!percent_decode(split.path)) return std::nullopt;
  if (question == std::string_view::npos) return split;
  for (const std::string_view pair : orch::split(target.substr(question + 1), '&')) {
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    auto name = percent_decode(pair.substr(0, equals), true);
    auto value = equals == std::string_view::npos ? std::string() : percent_decode(pair.substr(equals + 1), true);
    if (!name || !value) return std::nullopt;
    split.query.emplace_back(std::move(*name), std::move(*value));
  }
  return split;
}

Secret bearer_token(std::string_view authorization) {
  static constexpr std::string_view kScheme = "bearer ";
  if (lower(authorization.substr(0, kScheme.size())) != kScheme) return Secret();
  return Secret(std::string(trim(authorization.substr(kScheme.size()))));
}

}  // namespace orch::http
