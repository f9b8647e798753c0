#include "http/certificate.h"

#include <gmock/gmock.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <fstream>
#include <memory>

#include "daemon.h"

namespace orch::http {
namespace {

using testing::HasSubstr;
using X509Ptr = std::unique_ptr<X509, decltype(&X509_free)>;

X509Ptr parsed(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509Ptr certificate(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr), X509_free);
  BIO_free(bio);
  return certificate;
}

mode_t mode_of(const std::filesystem::path& file) {
  struct stat status {};
  return ::stat(file.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

void write(const std::filesystem::path& file, const std::string& text, mode_t mode = 0600) {
  std::ofstream(file) << text;
  ::chmod(file.c_str(), mode);
}

TEST(Certificate, IsForTheNamesGivenAndNoOthers) {
  const auto made = make_certificate({"login1.example.org", "10.0.0.7", "::1"});
  ASSERT_TRUE(made);
  const X509Ptr certificate = parsed(made->certificate_pem);
  ASSERT_TRUE(certificate);
  EXPECT_EQ(X509_check_host(certificate.get(), "login1.example.org", 0, 0, nullptr), 1);
  EXPECT_EQ(X509_check_host(certificate.get(), "login2.example.org", 0, 0, nullptr), 0);
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "10.0.0.7", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "::1", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "10.0.0.8", 0), 0);
}

TEST(Certificate, IsP256SignedByItselfAndGoodForTenYears) {
  const auto made = make_certificate({"localhost"});
  ASSERT_TRUE(made);
  const X509Ptr certificate = parsed(made->certificate_pem);
  ASSERT_TRUE(certificate);
  EVP_PKEY* key = X509_get0_pubkey(certificate.get());
  char group[32] = {};
  std::size_t size = 0;
  ASSERT_EQ(EVP_PKEY_get_group_name(key, group, sizeof group, &size), 1);
  EXPECT_STREQ(group, "prime256v1");
  EXPECT_EQ(X509_verify(certificate.get(), key), 1);
  int days = 0, seconds = 0;
  ASSERT_EQ(ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate.get())), 1);
  EXPECT_GE(days, 3651);
  EXPECT_LE(days, 3653);
  EXPECT_LT(X509_cmp_current_time(X509_get0_notBefore(certificate.get())), 0);
  EXPECT_EQ(X509_get_extension_flags(certificate.get()) & EXFLAG_CA, 0u);
}

TEST(Certificate, IsAnotherEachTime) {
  const auto one = make_certificate({"localhost"}), two = make_certificate({"localhost"});
  ASSERT_TRUE(one && two);
  EXPECT_NE(one->key_pem.reveal(), two->key_pem.reveal());
  EXPECT_NE(*fingerprint(one->certificate_pem), *fingerprint(two->certificate_pem));
}

TEST(Certificate, IsNotMadeForWhatIsNoName) {
  EXPECT_FALSE(make_certificate({}));
  for (const std::string bad : {"", "a b", "DNS:evil,IP:1", "a\nb", "::::::::", "x:y"}) {
    const auto made = make_certificate({"good", bad});
    ASSERT_FALSE(made) << bad;
    EXPECT_THAT(made.error().what, HasSubstr("neither a host name nor an IP address"));
  }
}

TEST(Certificate, IsWrittenForItsOwnerAndReadBack) {
  const test::TempFolder folder;
  const auto made = make_certificate({"localhost"});
  ASSERT_TRUE(made);
  write(folder / "key", "an old key that all could read", 0644);
  ASSERT_TRUE(write_certificate(*made, folder / "cert", folder / "key"));
  EXPECT_EQ(mode_of(folder / "key"), 0600u);
  const auto read = read_certificate(folder / "cert", folder / "key");
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(read->certificate_pem, made->certificate_pem);
  EXPECT_EQ(read->key_pem.reveal(), made->key_pem.reveal());
}

TEST(Certificate, IsRefusedWithTheReason) {
  const test::TempFolder folder;
  const auto one = make_certificate({"localhost"}), two = make_certificate({"localhost"});
  ASSERT_TRUE(one && two);
  ASSERT_TRUE(write_certificate(*one, folder / "cert", folder / "key"));
  const auto why = [&](const char* certificate, const char* key) {
    const auto read = read_certificate(folder / certificate, folder / key);
    return read ? std::string("it was read") : read.error().what;
  };
  write(folder / "other", two->key_pem.reveal());
  EXPECT_THAT(why("cert", "other"), HasSubstr("this is not the key of the certificate"));
  write(folder / "open", one->key_pem.reveal(), 0640);
  EXPECT_THAT(why("cert", "open"), HasSubstr("others than its owner may read this private key"));
  write(folder / "nonsense", "nonsense");
  EXPECT_THAT(why("nonsense", "key"), HasSubstr("no certificate in PEM form"));
  EXPECT_THAT(why("cert", "nonsense"), HasSubstr("no private key in PEM form"));
  EXPECT_THAT(why("absent", "key"), HasSubstr("could not be opened: No such file"));
  EXPECT_THAT(why(".", "key"), HasSubstr("not a plain file"));
  write(folder / "huge", std::string(2 << 20, 'x'));
  EXPECT_THAT(why("huge", "key"), HasSubstr("larger than 1 MiB"));
}

/// One that ends so many days from now, in both files.
void write_ending_in(int days, const std::filesystem::path& certificate_file, const std::filesystem::path& key_file) {
  const auto made = make_certificate({"localhost"});
  BIO* bio = BIO_new_mem_buf(made->key_pem.reveal().data(), -1);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  const X509Ptr certificate = parsed(made->certificate_pem);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), days * 86'400L + 60);
  X509_sign(certificate.get(), key, EVP_sha256());
  EVP_PKEY_free(key);
  bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, certificate.get());
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio, &text);
  write(certificate_file, std::string(text, static_cast<std::size_t>(size)), 0644);
  BIO_free(bio);
  write(key_file, made->key_pem.reveal());
}

class KeptCertificate : public testing::Test {
 protected:
  Result<Certificate> keep() {
    told_.clear();
    return keep_certificate(folder_ / "cert", folder_ / "key", {"localhost"},
                            [this](const std::string& what) { told_.push_back(what); });
  }
  const test::TempFolder folder_;
  std::vector<std::string> told_;
};

TEST_F(KeptCertificate, IsMadeOnceAndStaysTheSame) {
  const auto made = keep();
  ASSERT_TRUE(made) << made.error().what;
  const auto again = keep();
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ(again->certificate_pem, made->certificate_pem);
  EXPECT_THAT(told_, testing::IsEmpty());
}

TEST_F(KeptCertificate, IsMadeAnewWithAWordWhereOneOfItsFilesIsMissing) {
  for (const char* missing : {"key", "cert"}) {
    const auto before = keep();
    ASSERT_TRUE(before) << before.error().what;
    std::filesystem::remove(folder_ / missing);
    const auto after = keep();
    ASSERT_TRUE(after) << after.error().what;
    EXPECT_NE(after->certificate_pem, before->certificate_pem);
    EXPECT_THAT(told_, testing::ElementsAre(HasSubstr((folder_ / missing).string() + " was missing")));
    EXPECT_EQ(mode_of(folder_ / "key"), 0600u);
  }
}

TEST_F(KeptCertificate, IsNotReplacedWhereTheTwoDoNotBelongTogether) {
  const auto one = make_certificate({"localhost"}), two = make_certificate({"localhost"});
  write(folder_ / "cert", one->certificate_pem);
  write(folder_ / "key", two->key_pem.reveal());
  const auto kept = keep();
  ASSERT_FALSE(kept);
  EXPECT_THAT(kept.error().what, HasSubstr("remove both"));
}

TEST_F(KeptCertificate, ThatEndsSoonIsUsedWithAWarning) {
  write_ending_in(31, folder_ / "cert", folder_ / "key");
  EXPECT_TRUE(keep());
  EXPECT_THAT(told_, testing::IsEmpty());
  write_ending_in(29, folder_ / "cert", folder_ / "key");
  EXPECT_TRUE(keep());
  EXPECT_THAT(told_, testing::ElementsAre(HasSubstr("expires in 29 days")));
  write_ending_in(-1, folder_ / "cert", folder_ / "key");
  EXPECT_TRUE(keep());
  EXPECT_THAT(told_, testing::ElementsAre(HasSubstr("has expired")));
}

TEST(Certificate, SaysSoWhenTheFolderIsNotThere) {
  const test::TempFolder folder;
  const auto written = write_certificate(test::test_certificate(), folder / "no/cert", folder / "no/key");
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().what, HasSubstr("could not be made: No such file"));
}

// The certificate's DER form is the base64 between the PEM's lines; its SHA-256 comes from base/digest.h.
TEST(Fingerprint, IsTheSha256OfTheDerForm) {
  const std::string& pem = test::test_certificate().certificate_pem;
  unsigned char* der = nullptr;
  const int size = i2d_X509(parsed(pem).get(), &der);
  ASSERT_GT(size, 0);
  EXPECT_EQ(*fingerprint(pem), sha256({reinterpret_cast<char*>(der), static_cast<std::size_t>(size)}));
  OPENSSL_free(der);
  EXPECT_FALSE(fingerprint("nonsense"));
}

TEST(Fingerprint, IsReadAsPlainHexAndAsOpensslPrintsIt) {
  const Digest digest = sha256("abc");
  std::string colons;
  for (const char c : to_hex(digest)) {
    if (colons.size() % 3 == 2) colons += ':';
    colons += static_cast<char>(std::toupper(c));
  }
  EXPECT_EQ(read_fingerprint(to_hex(digest)), digest);
  EXPECT_EQ(read_fingerprint(colons), digest);
  std::string dots = colons;
  dots[2] = '.';
  for (const std::string& bad : {std::string(), to_hex(digest).substr(1), to_hex(digest) + "0", dots,
                                 std::string(64, 'g'), std::string(95, 'a')})
    EXPECT_EQ(read_fingerprint(bad), std::nullopt) << bad;
}

}  // namespace
}  // namespace orch::http
