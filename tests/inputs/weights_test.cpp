// Which models are not there is said before anything is submitted.
#include "inputs/weights.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/source_dir.h"

namespace orch::inputs {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

class Weights : public testing::Test {
 protected:
  Weights() {
    std::string pattern = (fs::temp_directory_path() / "orch-weights-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    const fs::path source = test::source_dir();
    sources_.data = {source / "db/catalog",   source / "policies", source / "templates",
                     source / "docs/schemas", source / "examples", source / "db/tasks"};
  }
  ~Weights() override { fs::remove_all(root_); }

  std::vector<std::string> missing(const std::string& matrix) {
    Diagnostics diagnostics;
    Planned planned;
    planned.catalog = load_catalog(sources_, diagnostics);
    auto policy = load_policy(sources_, "", diagnostics);
    auto cluster = load_cluster(sources_, "h100x8", "", planned.catalog, diagnostics);
    const auto root = parse_yaml(matrix, "m.yaml", diagnostics);
    bool well = policy && cluster && root;
    if (well) {
      planned.policy = *policy;
      planned.cluster = *cluster;
      well = plan_matrix(planned, *root, "m.yaml", diagnostics);
    }
    std::ostringstream problems;
    diagnostics.print(problems);
    EXPECT_TRUE(well) << problems.str();
    return missing_weights(planned, root_);
  }

  /// A snapshot in the hub's layout with what a small model has.
  void put(const std::string& repo, bool weights) {
    const std::string commit(40, 'a');
    const fs::path folder = root_ / repo;
    fs::create_directories(folder / "snapshots" / commit);
    fs::create_directories(folder / "refs");
    std::ofstream(folder / "refs" / "main") << commit;
    std::ofstream(folder / "snapshots" / commit / "config.json") << "{}";
    std::ofstream(folder / "snapshots" / commit / "tokenizer.json") << "{}";
    if (weights) {
      const std::string head = "{}      ";
      std::ofstream file(folder / "snapshots" / commit / "model.safetensors");
      const char size[8] = {8, 0, 0, 0, 0, 0, 0, 0};
      file.write(size, 8);
      file << head;
    }
  }

  fs::path root_;
  Sources sources_;
};

constexpr const char* kMatrix = "name: m\nkind: eval\nmodels: [llama2_7b, mistral_7b]\ntasks: [mmlu]\n";

TEST_F(Weights, ThatAreNotThereAreNamedWithWhatToDoGatedFirst) {
  const auto sentences = missing(kMatrix);
  ASSERT_THAT(sentences, SizeIs(2));
  EXPECT_THAT(sentences[0], AllOf(HasSubstr("llama2_7b: "), HasSubstr("is gated"), HasSubstr("accept its licence at"),
                                  HasSubstr("orchctl cache fetch llama2_7b")));
  EXPECT_THAT(sentences[1], AllOf(HasSubstr("mistral_7b: "), HasSubstr(root_.string()), Not(HasSubstr("gated"))));
}

TEST_F(Weights, ThatAreThereAreNotSpokenOf) {
  put("models--meta-llama--Llama-2-7b-hf", true);
  EXPECT_THAT(missing(kMatrix), ElementsAre(HasSubstr("mistral_7b")));
}

TEST_F(Weights, ThatAreNotWholeAreMissing) {
  put("models--meta-llama--Llama-2-7b-hf", false);
  EXPECT_THAT(missing(kMatrix), ElementsAre(HasSubstr("is not whole in"), HasSubstr("mistral_7b")));
}

TEST_F(Weights, AreLookedForWhereTheCellsWillLookForThem) {
  put("elsewhere/hub/models--mistralai--Mistral-7B-v0.1", true);
  const std::string matrix = "name: m\nkind: eval\nmodels: [mistral_7b]\ntasks: [mmlu]\nsettings: {engine: lm-eval}\n";
  EXPECT_THAT(missing(matrix), SizeIs(1));
  EXPECT_THAT(missing(matrix + "lm_eval: {env: {HF_HOME: " + (root_ / "elsewhere").string() + "}}\n"), IsEmpty());
}

TEST_F(Weights, OfCommandsAreTheirOwnAffair) {
  EXPECT_THAT(missing("name: m\nkind: command\nmodels: [llama2_7b]\ntasks: [x]\n"
                      "command: {run: [a, '{out}'], gpus: 1, time: 1m}\n"),
              IsEmpty());
}

}  // namespace
}  // namespace orch::inputs
