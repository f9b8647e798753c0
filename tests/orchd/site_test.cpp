// The site's own file of ceilings: root's, or it is not believed.
#include "orchd/site.h"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace orch::orchd {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class CeilingsFile : public testing::Test {
 protected:
  CeilingsFile() {
    std::string pattern = (fs::temp_directory_path() / "orch-site-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~CeilingsFile() override { fs::remove_all(folder_); }

  fs::path file(const std::string& text, mode_t mode) {
    const fs::path path = folder_ / "ceilings.yaml";
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
  }

  fs::path folder_;
};

TEST_F(CeilingsFile, ThatIsNotThereSetsNothing) {
  const auto ceilings = load_ceilings(folder_ / "none.yaml");
  ASSERT_TRUE(ceilings);
  EXPECT_FALSE(ceilings->per_user.max_jobs);
}

TEST_F(CeilingsFile, OfRootIsBelieved) {
  const auto ceilings = load_ceilings(file("ceilings: {per_user: {jobs: 7}}", 0644));
  // Run by somebody else it is that person's file.
  ASSERT_EQ(ceilings.ok(), ::getuid() == 0);
  if (ceilings) EXPECT_EQ(ceilings->per_user.max_jobs, 7);
}

TEST_F(CeilingsFile, ThatOthersCouldHaveWrittenIsRefused) {
  const auto ceilings = load_ceilings(file("ceilings: {per_user: {jobs: 7}}", 0664));
  ASSERT_FALSE(ceilings);
  EXPECT_THAT(ceilings.error().what, HasSubstr("others than root"));
}

TEST_F(CeilingsFile, WithAMistakeIsRefused) {
  const auto ceilings = load_ceilings(file("ceilings: {per_user: {jobs: none}}", 0644));
  ASSERT_FALSE(ceilings);
  if (::getuid() == 0) EXPECT_THAT(ceilings.error().what, HasSubstr("ceilings have problems"));
}

}  // namespace
}  // namespace orch::orchd
