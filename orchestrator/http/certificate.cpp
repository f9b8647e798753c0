#include "http/certificate.h"

#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/descriptor.h"
#include "base/text.h"

namespace orch::http {
namespace {

template <auto kFree>
struct Freed {
  template <class T>
  void operator()(T* held) const {
    kFree(held);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using X509Ptr = std::unique_ptr<X509, Freed<X509_free>>;
using Bio = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using Number = std::unique_ptr<BIGNUM, Freed<BN_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Freed<GENERAL_NAMES_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freed<X509_EXTENSION_free>>;

constexpr long kDay = 24L * 60 * 60;
/// A client whose clock is behind ours accepts the certificate all the same.
constexpr long kEarlier = -kDay;
constexpr long kTenYears = 3653 * kDay;
constexpr int kSoon = 30;  // days
/// Of a file with certificate or key: far more than any has.
constexpr std::size_t kMostBytes = 1 << 20;

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : std::string();
}

X509Ptr parse_certificate(std::string_view pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(std::min(pem.size(), kMostBytes))));
  return X509Ptr(bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr);
}

/// Never asks at the terminal for a pass phrase: an encrypted key is an error here.
int no_pass_phrase(char*, int, int, void*) { return -1; }

Key parse_key(std::string_view pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(std::min(pem.size(), kMostBytes))));
  return Key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_pass_phrase, nullptr) : nullptr);
}

bool is_host_name(std::string_view name) {
  return !name.empty() && name.size() <= 253 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_';
  });
}

bool add_name(GENERAL_NAMES* names, const std::string& name) {
  std::unique_ptr<GENERAL_NAME, Freed<GENERAL_NAME_free>> made(GENERAL_NAME_new());
  if (!made) return false;
  if (ASN1_OCTET_STRING* address = a2i_IPADDRESS(name.c_str())) {
    GENERAL_NAME_set0_value(made.get(), GEN_IPADD, address);
  } else {
    ERR_clear_error();
    ASN1_IA5STRING* host = ASN1_IA5STRING_new();
    if (!host) return false;
    GENERAL_NAME_set0_value(made.get(), GEN_DNS, host);
    if (!ASN1_STRING_set(host, name.data(), static_cast<int>(name.size()))) return false;
  }
  if (sk_GENERAL_NAME_push(names, made.get()) <= 0) return false;
  made.release();
  return true;
}

bool add_extension(X509* certificate, int kind, const char* value) {
  const Extension extension(X509V3_EXT_conf_nid(nullptr, nullptr, kind, value));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

/// Random, positive, of 127 bits: two certificates of one name are told apart by it.
bool set_serial(X509* certificate) {
  const Number serial(BN_new());
  return serial && BN_rand(serial.get(), 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate));
}

bool fill(X509* certificate, EVP_PKEY* key, const std::vector<std::string>& names) {
  const Names alternatives(GENERAL_NAMES_new());
  if (!alternatives) return false;
  for (const std::string& name : names)
    if (!add_name(alternatives.get(), name)) return false;
  X509_NAME* subject = X509_get_subject_name(certificate);
  const auto* common = reinterpret_cast<const unsigned char*>("orch daemon");
  return X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
         X509_gmtime_adj(X509_getm_notBefore(certificate), kEarlier) &&
         X509_gmtime_adj(X509_getm_notAfter(certificate), kTenYears) && X509_set_pubkey(certificate, key) == 1 &&
         X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, common, -1, -1, 0) == 1 &&
         X509_set_issuer_name(certificate, subject) == 1 &&
         X509_add1_ext_i2d(certificate, NID_subject_alt_name, alternatives.get(), 0, 0) == 1 &&
         add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
         add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
         add_extension(certificate, NID_ext_key_usage, "serverAuth") && X509_sign(certificate, key, EVP_sha256()) != 0;
}

Error system_error(const std::filesystem::path& file, const char* deed, int code) {
  return Error{file.string() + ": " + deed + ": " + std::strerror(code)};
}

Result<std::monostate> write_file(const std::filesystem::path& file, std::string_view text, mode_t mode) {
  const std::string fresh = file.string() + ".new";
  ::unlink(fresh.c_str());
  {
    const Descriptor out(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
    if (out.get() < 0) return system_error(fresh, "could not be made", errno);
    if (!write_all(out.get(), text) || ::fsync(out.get()) != 0) {
      const int code = errno;
      ::unlink(fresh.c_str());
      return system_error(fresh, "could not be written", code);
    }
  }
  if (::rename(fresh.c_str(), file.c_str()) == 0) return std::monostate{};
  const int code = errno;
  ::unlink(fresh.c_str());
  return system_error(file, "could not be replaced", code);
}

/// `forbidden` are the bits of the mode that the file must not have.
Result<std::string> read_file(const std::filesystem::path& file, mode_t forbidden) {
  const Descriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (in.get() < 0) return system_error(file, "could not be opened", errno);
  struct stat status {};
  if (::fstat(in.get(), &status) != 0) return system_error(file, "could not be looked at", errno);
  if (!S_ISREG(status.st_mode)) return Error{file.string() + ": not a plain file"};
  if (status.st_mode & forbidden)
    return Error{file.string() + ": others than its owner may read this private key; expected mode 0600 (chmod 600 '" +
                 file.string() + "'), or make a new one if somebody may have read it"};
  std::string text;
  std::string piece(4096, '\0');
  while (text.size() <= kMostBytes) {
    const ssize_t got = ::read(in.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return system_error(file, "could not be read", errno);
    if (got == 0) return text;
    text.append(piece, 0, static_cast<std::size_t>(got));
  }
  return Error{file.string() + ": larger than 1 MiB, which no certificate or key is"};
}

}  // namespace

std::string openssl_says() {
  std::string said;
  while (const unsigned long code = ERR_get_error()) {
    const char* reason = ERR_reason_error_string(code);
    if (!said.empty()) said += "; ";
    said += reason ? reason : "error " + std::to_string(code);
  }
  return said.empty() ? "OpenSSL gives no reason" : said;
}

Result<Certificate> make_certificate(const std::vector<std::string>& names) {
  if (names.empty()) return Error{"a certificate needs at least one host name or address, and none was given"};
  for (const std::string& name : names) {
    // An IPv6 address has colons, which no host name has.
    const bool is_address =
        name.find(':') != std::string::npos && name.find('\0') == std::string::npos &&
        std::unique_ptr<ASN1_OCTET_STRING, Freed<ASN1_OCTET_STRING_free>>(a2i_IPADDRESS(name.c_str()));
    if (!is_address && !is_host_name(name))
      return Error{quote(name) + " is neither a host name nor an IP address, and no certificate can be made for it"};
  }
  ERR_clear_error();
  const Key key(EVP_EC_gen("P-256"));
  const X509Ptr certificate(X509_new());
  const Bio certificate_text(BIO_new(BIO_s_mem())), key_text(BIO_new(BIO_s_secmem()));
  if (!key || !certificate || !certificate_text || !key_text || !fill(certificate.get(), key.get(), names) ||
      PEM_write_bio_X509(certificate_text.get(), certificate.get()) != 1 ||
      PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return Error{"no certificate could be made: " + openssl_says()};
  return Certificate{text_of(certificate_text.get()), Secret(text_of(key_text.get()))};
}

Result<std::monostate> write_certificate(const Certificate& certificate, const std::filesystem::path& certificate_file,
                                         const std::filesystem::path& key_file) {
  if (auto written = write_file(key_file, certificate.key_pem.reveal(), 0600); !written) return written;
  return write_file(certificate_file, certificate.certificate_pem, 0644);
}

Result<Certificate> read_certificate(const std::filesystem::path& certificate_file,
                                     const std::filesystem::path& key_file) {
  auto certificate_text = read_file(certificate_file, 0);
  if (!certificate_text) return certificate_text.error();
  auto key_text = read_file(key_file, S_IRWXG | S_IRWXO);
  if (!key_text) return key_text.error();
  ERR_clear_error();
  const X509Ptr certificate = parse_certificate(*certificate_text);
  if (!certificate) return Error{certificate_file.string() + ": no certificate in PEM form: " + openssl_says()};
  const Key key = parse_key(*key_text);
  if (!key) return Error{key_file.string() + ": no private key in PEM form without a pass phrase: " + openssl_says()};
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return Error{key_file.string() + ": this is not the key of the certificate in " + certificate_file.string() +
                 "; put the two there that belong together, or remove both, and the next start makes new ones"};
  }
  return Certificate{std::move(*certificate_text), Secret(std::move(*key_text))};
}

Result<Certificate> keep_certificate(const std::filesystem::path& certificate_file,
                                     const std::filesystem::path& key_file, const std::vector<std::string>& names,
                                     const std::function<void(const std::string&)>& told) {
  const auto tell = [&](const std::string& what) {
    if (told) told(what);
  };
  std::error_code error;
  const bool has_certificate = std::filesystem::exists(certificate_file, error);
  // What cannot be looked at is not missing: nothing is written over it.
  if (error) return Error{certificate_file.string() + " cannot be looked at: " + error.message()};
  const bool has_key = std::filesystem::exists(key_file, error);
  if (error) return Error{key_file.string() + " cannot be looked at: " + error.message()};
  if (!has_certificate || !has_key) {
    auto made = make_certificate(names);
    if (!made) return made.error();
    if (auto written = write_certificate(*made, certificate_file, key_file); !written) return written.error();
    if (has_certificate != has_key)
      tell((has_key ? certificate_file : key_file).string() +
           " was missing: certificate and key were made anew, and endpoint.json has the new fingerprint");
  }
  auto kept = read_certificate(certificate_file, key_file);
  if (!kept) return kept;
  int days = 0, seconds = 0;
  const X509Ptr certificate = parse_certificate(kept->certificate_pem);
  if (certificate && ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate.get())) == 1 &&
      days < kSoon)
    tell(certificate_file.string() +
         (days < 0 || seconds < 0 ? " has expired" : " expires in " + counted(days, "day")) +
         ": orchctl and workers go by its fingerprint and do not mind; for a new one remove it and " +
         key_file.filename().string() + ", and start the daemon again");
  return kept;
}

Result<Digest> fingerprint(std::string_view certificate_pem) {
  ERR_clear_error();
  const X509Ptr certificate = parse_certificate(certificate_pem);
  if (!certificate) return Error{"no certificate in PEM form: " + openssl_says()};
  Digest digest;
  unsigned int size = 0;
  if (X509_digest(certificate.get(), EVP_sha256(), digest.bytes.data(), &size) != 1 || size != digest.bytes.size())
    return Error{"the certificate has no SHA-256: " + openssl_says()};
  return digest;
}

std::optional<Digest> read_fingerprint(std::string_view text) {
  const bool colons = text.size() == 32 * 3 - 1;
  if (!colons && text.size() != 32 * 2) return std::nullopt;
  Digest digest;
  for (std::size_t i = 0; i < digest.bytes.size(); ++i) {
    const std::size_t at = i * (colons ? 3 : 2);
    if (colons && i > 0 && text[at - 1] != ':') return std::nullopt;
    const int high = OPENSSL_hexchar2int(static_cast<unsigned char>(text[at]));
    const int low = OPENSSL_hexchar2int(static_cast<unsigned char>(text[at + 1]));
    if (high < 0 || low < 0) {
      ERR_clear_error();
      return std::nullopt;
    }
    digest.bytes[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return digest;
}

}  // namespace orch::http
