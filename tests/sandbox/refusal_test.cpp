#include "sandbox/refusal.h"

#include <gmock/gmock.h>

#include <cerrno>
#include <fstream>

#include "support/temporary.h"

namespace orch::sandbox {
namespace {

using testing::HasSubstr;
using testing::Not;

/// A folder such as /proc/sys with one setting.
class Settings {
 public:
  void set(const std::string& name, const std::string& value) {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << value << "\n";
  }
  std::string why(const std::string& step, int error) const { return why_refused(step, error, folder_.path()); }

 private:
  orch::test::TemporaryFolder folder_;
};

TEST(Refusal, NamesTheSettingThatAnAdministratorWouldChange) {
  Settings none, debian, ubuntu;
  none.set("user/max_user_namespaces", "0");
  none.set("kernel/unprivileged_userns_clone", "1");
  EXPECT_THAT(none.why(kCloneStep, ENOSPC), HasSubstr("sysctl user.max_user_namespaces=15000"));
  debian.set("user/max_user_namespaces", "96365");
  debian.set("kernel/unprivileged_userns_clone", "0");
  EXPECT_THAT(debian.why(kCloneStep, EPERM), HasSubstr("sysctl kernel.unprivileged_userns_clone=1"));
  // There a process without a profile gets the namespace, and none of the rights in it.
  ubuntu.set("kernel/apparmor_restrict_unprivileged_userns", "1");
  EXPECT_THAT(ubuntu.why("mount a new root", EACCES), HasSubstr("kernel.apparmor_restrict_unprivileged_userns=0"));
}

TEST(Refusal, GuessesAtAContainerWhereNoSettingExplainsIt) {
  Settings fine;
  fine.set("user/max_user_namespaces", "96365");
  EXPECT_THAT(fine.why(kCloneStep, EPERM), HasSubstr("seccomp=unconfined"));
  EXPECT_THAT(fine.why(kCloneStep, EINVAL), HasSubstr("CONFIG_USER_NS"));
  EXPECT_THAT(fine.why(kCloneStep, ENOSPC), HasSubstr("as many namespaces as may be"));
}

TEST(Refusal, BlamesNoSettingForARequest) {
  Settings none;
  none.set("user/max_user_namespaces", "0");
  EXPECT_EQ(none.why(kStartProgram, EACCES), "cannot start the program: Permission denied");
  EXPECT_EQ(none.why(kShowFolder, EACCES), "cannot read a folder that was to be shown: Permission denied");
  EXPECT_EQ(none.why("write its files", ENOSPC), "cannot write its files: No space left on device");
}

}  // namespace
}  // namespace orch::sandbox
