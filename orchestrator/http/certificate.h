// The server's own certificate. There is no authority: who knows its SHA-256 (from the pointer file) trusts it.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/digest.h"
#include "base/result.h"
#include "http/message.h"

namespace orch::http {

struct Certificate {
  std::string certificate_pem;
  Secret key_pem;
};

/// A self-signed EC P-256 certificate for ten years, with a new key. `names` are host names or IP addresses; it needs
/// at least one.
Result<Certificate> make_certificate(const std::vector<std::string>& names);

/// Writes both files anew: the key is readable by its owner alone from the first byte, and each is there whole or not
/// at all.
Result<std::monostate> write_certificate(const Certificate& certificate, const std::filesystem::path& certificate_file,
                                         const std::filesystem::path& key_file);

/// Reads both and sees to it that they belong together. A key that others can read is refused.
Result<Certificate> read_certificate(const std::filesystem::path& certificate_file,
                                     const std::filesystem::path& key_file);

/// The certificate that a server has in two files. Where none is there, or one of the two is missing, both are made
/// anew: whoever pins it is told its new fingerprint at the same place as the old one. `told` hears of that, and of one
/// that ends within 30 days: nobody here judges by its dates, other clients do.
Result<Certificate> keep_certificate(const std::filesystem::path& certificate_file,
                                     const std::filesystem::path& key_file, const std::vector<std::string>& names,
                                     const std::function<void(const std::string&)>& told);

/// SHA-256 of the (first) certificate's DER form: what `openssl x509 -fingerprint -sha256` prints.
Result<Digest> fingerprint(std::string_view certificate_pem);

/// 64 hexadecimal digits of either case, with or without colons between the bytes.
std::optional<Digest> read_fingerprint(std::string_view text);

/// What OpenSSL has to say about the last failure, as the rest of a sentence; it is forgotten then.
std::string openssl_says();

}  // namespace orch::http
