// Other weights are other cells: what a model of the native engine is resolved to.
#include "inputs/models.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>

#include "base/digest.h"
#include "inputs/inputs.h"
#include "support/source_dir.h"
#include "support/temporary.h"

namespace orch::inputs {
namespace {

namespace fs = std::filesystem;

class Models : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(model_);
    put("config.json", "{}");
    put("model.safetensors", "numbers");
  }
  void put(const std::string& name, const std::string& text) { std::ofstream(model_ / name) << text; }

  struct Seen {
    std::string resolved, key;
  };
  Seen look(const std::string& hf_id, const std::string& engine = "native") {
    Diagnostics diagnostics;
    Planned planned;
    const fs::path source = test::source_dir();
    Sources sources;
    sources.data = {source / "db/catalog",   source / "policies", source / "templates",
                    source / "docs/schemas", source / "examples", source / "db/tasks"};
    planned.catalog = load_catalog(sources, diagnostics);
    const auto catalog =
        parse_yaml("models:\n  small: {hf_id: " + hf_id +
                       ", family: llama, params: 1_000, context: 8192, license: mit, engines: [native, lm-eval], "
                       "decoder: {layers: 1, hidden: 8, heads: 1, kv_heads: 1, head_dim: 8, ffn: 8, vocab: 8}}\n",
                   "c.yaml", diagnostics);
    read_catalog_file(planned.catalog, *catalog, "c.yaml", diagnostics);
    finish_catalog(planned.catalog, diagnostics);
    const auto policy = load_policy(sources, "", diagnostics);
    const auto cluster = load_cluster(sources, "h100x8", "", planned.catalog, diagnostics);
    const auto root = parse_yaml("name: m\nmodels: [small]\ntasks: [mmlu]\nsettings: {engine: " + engine + "}\n",
                                 "m.yaml", diagnostics);
    planned.policy = *policy;
    planned.cluster = *cluster;
    planned.digests = known_;
    EXPECT_TRUE(plan_matrix(planned, *root, "m.yaml", diagnostics));
    EXPECT_EQ(planned.expansion.cells.size(), 1U);
    return {planned.catalog.models.find("small")->resolved, to_hex(planned.expansion.cells.at(0).key)};
  }

  test::TemporaryFolder folder_;
  const fs::path model_ = folder_.path() / "model", known_ = folder_.path() / "weights.json";
};

TEST_F(Models, InAFolderAreADigestOfWhatIsRead) {
  const Seen first = look(model_.string());
  const std::string files =
      "config.json " + to_hex(sha256("{}")) + "\nmodel.safetensors " + to_hex(sha256("numbers")) + "\n";
  EXPECT_EQ(first.resolved, "sha256:" + to_hex(sha256(files)));
  put("README.md", "of no weight");
  EXPECT_EQ(look(model_.string()).key, first.key);
  put("model.safetensors", "Numbers");
  const Seen second = look(model_.string());
  EXPECT_NE(second.resolved, first.resolved);
  EXPECT_NE(second.key, first.key);
  put("model.safetensors", "numbers");
  EXPECT_EQ(look(model_.string()).key, first.key) << "the same weights again";
}

TEST_F(Models, AreTheSameBehindLinksAndOthersUnderOtherNames) {
  const Seen first = look(model_.string());
  const fs::path linked = folder_.path() / "linked", crossed = folder_.path() / "crossed";
  for (const fs::path& folder : {linked, crossed}) fs::create_directory(folder);
  fs::create_symlink(model_ / "config.json", linked / "config.json");
  fs::create_symlink(model_ / "model.safetensors", linked / "model.safetensors");
  EXPECT_EQ(look(linked.string()).resolved, first.resolved);
  fs::create_symlink(model_ / "config.json", crossed / "model.safetensors");
  fs::create_symlink(model_ / "model.safetensors", crossed / "config.json");
  EXPECT_NE(look(crossed.string()).resolved, first.resolved);
}

TEST_F(Models, AreReadOnceAsLongAsTheyStayAsTheyWere) {
  const Seen first = look(model_.string());
  // What is remembered is believed: a digest that no file has shows it.
  std::ifstream in(known_);
  std::string known{std::istreambuf_iterator<char>(in), {}};
  const std::size_t at = known.find(to_hex(sha256("numbers")));
  ASSERT_NE(at, std::string::npos);
  known.replace(at, 64, std::string(64, '0'));
  std::ofstream(known_) << known;
  EXPECT_NE(look(model_.string()).resolved, first.resolved);
  // The same size and the same time of change, but not the same bytes.
  struct stat before {};
  ASSERT_EQ(::stat((model_ / "model.safetensors").c_str(), &before), 0);
  put("model.safetensors", "NUMBERS");
  const timespec times[] = {before.st_atim, before.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, (model_ / "model.safetensors").c_str(), times, 0), 0);
  const std::string files =
      "config.json " + to_hex(sha256("{}")) + "\nmodel.safetensors " + to_hex(sha256("NUMBERS")) + "\n";
  EXPECT_EQ(look(model_.string()).resolved, "sha256:" + to_hex(sha256(files)));
  std::ofstream(known_) << "[damaged";
  EXPECT_EQ(look(model_.string()).resolved, "sha256:" + to_hex(sha256(files)));
}

TEST_F(Models, ThatCannotBeSeenFromHereStayAsTheCatalogSays) {
  EXPECT_EQ(look("/nowhere/at/all").resolved, "");
  EXPECT_EQ(look("nobody/has-this").resolved, "");
  EXPECT_EQ(look(model_.string(), "lm-eval").resolved, "") << "other engines find their weights themselves";
}

TEST_F(Models, OfTheHubAreTheCommitThatIsInTheCache) {
  const std::string commit(40, 'a'), later(40, 'b');
  const fs::path repo = folder_.path() / "models--lab--small";
  for (const std::string& each : {commit, later}) fs::create_directories(repo / "snapshots" / each);
  fs::create_directories(repo / "refs");
  std::ofstream(repo / "refs" / "main") << commit;
  ::setenv("HF_HUB_CACHE", folder_.path().c_str(), 1);
  const Seen first = look("lab/small");
  EXPECT_EQ(first.resolved, commit);
  std::ofstream(repo / "refs" / "main") << later;
  const Seen second = look("lab/small");
  ::unsetenv("HF_HUB_CACHE");
  EXPECT_EQ(second.resolved, later);
  EXPECT_NE(second.key, first.key);
}

}  // namespace
}  // namespace orch::inputs
