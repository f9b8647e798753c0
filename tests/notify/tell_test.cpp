// Telling by programs: fakes of sendmail and curl on the PATH write down what they were given.
#include "notify/tell.h"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace orch::notify {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class Tell : public testing::Test {
 protected:
  Tell() {
    std::string pattern = (fs::temp_directory_path() / "orch-tell-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    path_ = ::getenv("PATH");
    ::setenv("PATH", (folder_.string() + ":" + path_).c_str(), 1);
  }
  ~Tell() override {
    ::setenv("PATH", path_.c_str(), 1);
    fs::remove_all(folder_);
  }

  /// A program that writes its arguments, its input and some of its environment down, and ends with `code`.
  void fake(const std::string& name, int code = 0) {
    const fs::path file = folder_ / name;
    std::ofstream(file) << "#!/bin/sh\nprintf '%s\\n' \"$@\" >" << folder_.string() << "/argv\ncat >"
                        << folder_.string() << "/input\nenv >" << folder_.string() << "/env\necho x >>"
                        << folder_.string() << "/runs\n[ " << code << " = 0 ] || echo broken >&2\nexit " << code
                        << "\n";
    fs::permissions(file, fs::perms(0755));
  }
  std::string read(const std::string& name) const {
    std::ifstream file(folder_ / name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  fs::path folder_;
  std::string path_;
  Message message_{"sweep_ended", "nightly: 3 of 3 cells are done", "s7", "login1", "2026-11-21T22:10:00Z"};
};

TEST_F(Tell, CommandGetsTheMessageAsJsonAndInItsEnvironment) {
  fake("page");
  const Target target{{}, Command{{"page", "--urgent", "$(id)"}}};
  ASSERT_TRUE(tell(target, message_));
  EXPECT_EQ(read("argv"), "--urgent\n$(id)\n") << "no shell has read it";
  const auto json = nlohmann::json::parse(read("input"));
  EXPECT_EQ(json["kind"], "sweep_ended");
  EXPECT_EQ(json["text"], message_.text);
  EXPECT_EQ(json["sweep"], "s7");
  EXPECT_EQ(json["host"], "login1");
  EXPECT_EQ(json["at"], "2026-11-21T22:10:00Z");
  EXPECT_THAT(read("env"), HasSubstr("ORCH_NOTICE_TEXT=nightly: 3 of 3 cells are done\n"));
  EXPECT_THAT(read("env"), HasSubstr("ORCH_NOTICE_SWEEP=s7\n"));
}

TEST_F(Tell, CommandThatFailsSaysWhy) {
  fake("page", 3);
  const auto told = tell({{}, Command{{"page"}}}, message_);
  ASSERT_FALSE(told);
  EXPECT_THAT(told.error().what, HasSubstr("ended with code 3: broken"));
  EXPECT_THAT(tell({{}, Command{{"no-such-program-here"}}}, message_).error().what, HasSubstr("not found"));
}

TEST_F(Tell, MailHasOneReceiverAndAPlainSubject) {
  fake("sendmail");
  message_.text = "bad\nBcc: everybody@example.org";
  ASSERT_TRUE(tell({{}, Mail{"mara@example.org"}}, message_));
  EXPECT_EQ(read("argv"), "-i\n--\nmara@example.org\n");
  const std::string letter = read("input");
  const std::string head = letter.substr(0, letter.find("\n\n"));
  EXPECT_THAT(head, HasSubstr("Subject: [orch] sweep_ended\n"));
  EXPECT_THAT(head, Not(HasSubstr("Bcc")));
  EXPECT_THAT(letter, Not(HasSubstr("\nBcc:"))) << "not in the body as a line of its own either";
  message_.text = "nightly: 3 of 3 cells are done";
  ASSERT_TRUE(tell({{}, Mail{"mara@example.org"}}, message_));
  EXPECT_THAT(read("input"), HasSubstr("Subject: [orch] sweep_ended: nightly: 3 of 3 cells are done\n"));
}

TEST_F(Tell, WebhooksAddressIsOnNoCommandLine) {
  fake("curl");
  message_.text = "it said \"no\" \\ and\nended";
  ASSERT_TRUE(tell({{}, Webhook{"https://chat.example.org/hooks/SECRET"}}, message_));
  EXPECT_THAT(read("argv"), Not(HasSubstr("SECRET")));
  EXPECT_THAT(read("env"), Not(HasSubstr("SECRET")));
  EXPECT_THAT(read("input"), HasSubstr("url = \"https://chat.example.org/hooks/SECRET\"\n"));
}

TEST_F(Tell, WebhookIsTriedAgainOnlyWhereNobodyCanHaveGotIt) {
  fake("curl", 7);
  EXPECT_FALSE(tell({{}, Webhook{"https://chat.example.org/"}}, message_));
  EXPECT_EQ(read("runs"), "x\nx\nx\n");
  fs::remove(folder_ / "runs");
  fake("curl", 22);
  EXPECT_FALSE(tell({{}, Webhook{"https://chat.example.org/"}}, message_));
  EXPECT_EQ(read("runs"), "x\n");
}

}  // namespace
}  // namespace orch::notify
