// The daemon as an object, for what its options alone can say: the site's ceilings lie where tests cannot write.
#include "orchd/daemon.h"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cluster/local.h"
#include "http/client.h"
#include "support/source_dir.h"

namespace orch::orchd {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Ceilings : public testing::Test {
 protected:
  Ceilings() {
    std::string pattern = "/tmp/orch-daemon-XXXXXX";  // short: a socket's path may have 107 bytes
    folder_ = mkdtemp(pattern.data());
    options_.state = options_.database = folder_;
    options_.jobs = folder_ / "jobs";
    const fs::path source = test::source_dir();
    options_.sources.data = {source / "db/catalog",   source / "policies", source / "templates",
                             source / "docs/schemas", source / "examples", source / "db/tasks"};
    options_.ceilings = folder_ / "ceilings.yaml";
    options_.version = "test";
    options_.log = [this](const std::string& what) {
      const std::lock_guard lock(mutex_);
      said_ += what + "\n";
    };
    const auto site = choose_site({"local", "", 1}, Settings{}, folder_, options_.sources);
    EXPECT_TRUE(site) << (site ? "" : site.error().what);
    if (site) options_.site = *site;
    std::ofstream(options_.ceilings) << "ceilings: {per_user: {jobs: 4}}";
    ::chmod(options_.ceilings.c_str(), 0644);
  }
  ~Ceilings() override { fs::remove_all(folder_); }

  Result<std::unique_ptr<Daemon>> start() {
    cluster::LocalRules rules;
    rules.folder = folder_ / "local";
    rules.slots = {"0"};
    rules.supervisor = {"/bin/true"};
    auto local = cluster::Local::open(std::move(rules));
    if (!local) return local.error();
    return Daemon::start(options_, *std::move(local));
  }
  std::string said() {
    const std::lock_guard lock(mutex_);
    return said_;
  }

  fs::path folder_;
  Options options_;
  std::mutex mutex_;
  std::string said_;
};

TEST_F(Ceilings, StandAboveThePolicyOfTheStartAndAboveThoseThatAreSet) {
  const auto daemon = start();
  if (::getuid() != 0) {
    ASSERT_FALSE(daemon) << "the file is not root's own";
    return;
  }
  ASSERT_TRUE(daemon) << daemon.error().what;
  EXPECT_THAT(said(), HasSubstr("the site's ceilings lower limits.per_user.jobs of the policy default"));

  std::ostringstream policy;
  policy << std::ifstream(options_.sources.data.policies / "tournament.yaml").rdbuf();  // it has jobs: 12
  http::Client client(http::UnixEndpoint{folder_ / "orchd.sock"}, {});
  http::Call call;
  call.method = "PUT";
  call.target = "/v1/policy";
  call.body = nlohmann::json{{"file", "tournament.yaml"}, {"text", policy.str()}}.dump();
  const auto answer = client.call(call);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200) << answer->body;
  EXPECT_EQ(nlohmann::json::parse(answer->body)["lowered"], nlohmann::json({"limits.per_user.jobs"}));
}

}  // namespace
}  // namespace orch::orchd
