#include "planner/script.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "base/units.h"
#include "support/source_dir.h"

using namespace orch;
using namespace orch::planner;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Not;
namespace fs = std::filesystem;

namespace {

const fs::path kSource = orch::test::source_dir();

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_text(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

class TempFolder {
 public:
  TempFolder() {
    std::string name = (fs::temp_directory_path() / "orch-script-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// Runs a program with exactly this environment; its output goes to `out` in the folder. The exit status, or 128 +
/// signal.
int run(const std::vector<std::string>& argv, const std::vector<std::string>& environment, const fs::path& folder) {
  const pid_t child = fork();
  if (child == 0) {
    std::vector<char*> args, env;
    for (const std::string& text : argv) args.push_back(const_cast<char*>(text.c_str()));
    for (const std::string& text : environment) env.push_back(const_cast<char*>(text.c_str()));
    args.push_back(nullptr);
    env.push_back(nullptr);
    const int out = open((folder / "out").c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    if (chdir(folder.c_str()) != 0 || out < 0) _exit(126);
    dup2(out, 1);
    dup2(out, 2);
    alarm(60);  // a script that hangs is a failure, not a test that never ends
    execve(args[0], args.data(), env.data());
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// A job of any profile, made by hand.
struct Rig {
  Diagnostics diagnostics;
  Catalog catalog = load_catalog(std::vector{kSource / "db" / "catalog"}, diagnostics);
  Cluster cluster;
  policy::Policy policy;
  Submit submit;
  Plan plan;
  matrix::Expansion expansion;

  explicit Rig(const std::string& profile = "large_single") {
    cluster.name = "test";
    Partition partition;
    partition.name = "h100quadflex";
    partition.gpu = "h100";
    partition.nodes = 4;
    partition.gpus_per_node = 8;
    partition.cpus_per_node = 64;
    cluster.partitions.push_back(partition);
    Gpu gpu = catalog.gpus.size() > 0 ? catalog.gpus[0] : Gpu{};
    gpu.name = "h100";
    gpu.slurm_names = {"h100"};
    catalog.gpus.put(gpu);
    expansion.name = "nightly";

    const std::uint32_t index = catalog.profiles.index_of(profile).value();
    const Profile& shape = catalog.profiles[index];
    Sizing sizing;
    sizing.chosen.profile = index;
    sizing.chosen.nodes = shape.nodes;
    sizing.chosen.gpus = shape.gpus();
    sizing.chosen.layout = {shape.gpus_per_node, shape.nodes, 1};
    plan.sizings.push_back(sizing);
    plan.needs.emplace_back();
    Job job;
    job.id = "j1";
    job.profile = index;
    job.nodes = shape.nodes;
    job.gpus = shape.gpus();
    job.layout = sizing.chosen.layout;
    job.cells = {0};
    job.models = {0};
    job.time_limit = 2 * 3600 + 1800;
    plan.jobs.push_back(job);
  }

  Site site() const { return Site{catalog, cluster, policy, submit}; }
  const Profile& profile() const { return catalog.profiles[plan.jobs[0].profile]; }

  Result<std::string, tmpl::TemplateError> render_text(const std::string& text, const std::string& name) const {
    return render_script(text, name, plan.jobs[0], plan, expansion, site(),
                         [](const std::string& file) -> std::optional<std::string> {
                           if (!fs::exists(kSource / "templates" / file)) return std::nullopt;
                           return read_text(kSource / "templates" / file);
                         });
  }
  Result<std::string, tmpl::TemplateError> result() const {
    return render_text(read_text(kSource / "templates" / profile().template_name), profile().template_name);
  }
  std::string script() const {
    auto rendered = result();
    if (rendered) return *rendered;
    const tmpl::TemplateError& error = rendered.error();
    ADD_FAILURE() << error.file << ":" << error.line << ":" << error.column << ": " << error.what;
    return "";
  }
};

/// The arguments of the script's #SBATCH lines, read as sbatch reads them (opt.c): outside the lines nothing counts,
/// quotes and backslashes keep blanks, an unquoted # begins a comment.
std::vector<std::string> directives(const std::string& script) {
  std::vector<std::string> found;
  std::istringstream lines(script);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    if (line[0] != '#') break;  // the first command
    if (line.rfind("#SBATCH", 0) != 0) continue;
    std::string word;
    bool any = false, escaped = false;
    char in = 0;
    for (char c : line.substr(7) + " ") {
      if (escaped) {
        word += c, any = true, escaped = false;
      } else if (c == '\\') {
        escaped = true;
      } else if (in) {
        if (c == in)
          in = 0;
        else
          word += c;
      } else if (c == '"' || c == '\'') {
        in = c, any = true;
      } else if (c == '#') {
        break;
      } else if (c == ' ' || c == '\t') {
        if (any) found.push_back(word);
        word.clear(), any = false;
      } else {
        word += c, any = true;
      }
    }
    EXPECT_EQ(in, 0) << "a quote stays open: " << line;
  }
  return found;
}

/// A folder in which a script runs with programs that only write down how they were called.
class Stage {
 public:
  Stage() {
    fs::create_directory(bin());
    fs::create_directory(folder_.path() / "job");
    for (const char* name : {"srun", "module", "conda", "apptainer"})
      program(name, "{ printf '%s\\0' \"$@\"; printf '\\1'; } >>\"$RECORD/" + std::string(name) + "\"\n" +
                        (std::string(name) == "srun" ? "env -0 >\"$RECORD/env\"\n" : ""));
    program("scontrol", "printf 'node7\\nnode8\\n'\n");
  }

  void program(const std::string& name, const std::string& body) {
    write_text(bin() / name, "#!/bin/bash\n" + body);
    fs::permissions(bin() / name, fs::perms::owner_all);
  }

  int run_script(const std::string& script, const std::string& job_id = "42", std::vector<std::string> more = {}) {
    write_text(folder_.path() / "script", script);
    std::vector<std::string> environment = {
        "PATH=" + bin().string() + ":/usr/bin:/bin", "RECORD=" + folder_.path().string(),
        "ORCH_JOB_DIR=" + (folder_.path() / "job").string(), "SLURM_JOB_ID=" + job_id, "SLURM_JOB_NODELIST=node[7-8]"};
    environment.insert(environment.end(), more.begin(), more.end());
    return run({"/bin/bash", (folder_.path() / "script").string()}, environment, folder_.path());
  }

  /// How a program was called: a list of arguments a call.
  std::vector<std::vector<std::string>> calls(const std::string& name) const {
    std::vector<std::vector<std::string>> calls(1);
    std::string word;
    for (char c : read_text(folder_.path() / name)) {
      if (c == '\1')
        calls.emplace_back();
      else if (c == '\0')
        calls.back().push_back(std::exchange(word, {}));
      else
        word += c;
    }
    calls.pop_back();
    return calls;
  }
  std::map<std::string, std::string> environment() const {
    std::map<std::string, std::string> found;
    std::string entry;
    for (char c : read_text(folder_.path() / "env")) {
      if (c != '\0') {
        entry += c;
        continue;
      }
      found[entry.substr(0, entry.find('='))] = entry.substr(entry.find('=') + 1);
      entry.clear();
    }
    return found;
  }
  bool exists_anywhere(const std::string& name) const {
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path()))
      if (entry.path().filename() == name) return true;
    return false;
  }
  std::string output() const { return read_text(folder_.path() / "out"); }
  const fs::path& path() const { return folder_.path(); }
  std::string job_dir() const { return (folder_.path() / "job").string(); }

 private:
  fs::path bin() const { return folder_.path() / "bin"; }
  TempFolder folder_;
};

const std::string kHostile = "a'b\"c `touch pwned` $(touch pwned) ;touch pwned& |touch pwned\\ #* ~ {x,y} !! <x >pwned";

}  // namespace

TEST(Script, OfEveryProfileIsBashAndAsksForItsGpusEitherWay) {
  const Rig any;
  for (const Profile& profile : any.catalog.profiles.all())
    for (GpuRequest request : {GpuRequest::kGres, GpuRequest::kGpusPerNode}) {
      Rig rig(profile.name);
      rig.cluster.request = request;
      const std::string script = rig.script();
      SCOPED_TRACE(profile.name + "\n" + script);
      TempFolder folder;
      write_text(folder.path() / "script", script);
      EXPECT_EQ(run({"/bin/bash", "-n", "script"}, {}, folder.path()), 0) << read_text(folder.path() / "out");

      const std::vector<std::string> found = directives(script);
      const std::string gpus = std::to_string(profile.gpus_per_node);
      EXPECT_THAT(found,
                  Contains((request == GpuRequest::kGres ? "--gres=gpu:h100:" : "--gpus-per-node=h100:") + gpus));
      EXPECT_THAT(found,
                  IsSupersetOf({"--nodes=" + std::to_string(profile.nodes), std::string("--partition=h100quadflex"),
                                std::string("--time=02:30:00"), std::string("--signal=B:USR1@120"),
                                std::string("--open-mode=append"), std::string("--requeue"),
                                "--ntasks=" + std::to_string(profile.gpus()), std::string("--job-name=orch-nightly-j1"),
                                std::string("--output=orch-nightly-j1-%j.out")}));
      for (const std::string& directive : found)
        EXPECT_TRUE(std::regex_match(directive, std::regex("--[a-z-]+(=[^=]*[^=\\s]+.*)?"))) << directive;
      EXPECT_THAT(script, Not(HasSubstr("--no-requeue")));
    }
}

TEST(Script, OfEveryTemplatePassesShellcheck) {
  Rig rig;
  rig.submit.modules = {"cuda/13.0"};
  rig.submit.conda = "eval";
  rig.submit.scratch = "/scratch/$USER";
  rig.submit.environment = {{"HF_HOME", "/data/hf"}};
  TempFolder folder;
  std::vector<std::string> argv = {"/usr/bin/env", "PATH=/usr/local/bin:/usr/bin:/bin", "shellcheck", "-s", "bash"};
  for (const char* name : {"small", "large_single", "moe", "ultra_large", "multimodal", "multi_node"}) {
    const std::string file = std::string(name) + ".sbatch";
    auto script = rig.render_text(read_text(kSource / "templates" / file), file);
    ASSERT_TRUE(script.ok()) << script.error().file << ":" << script.error().line << ": " << script.error().what;
    write_text(folder.path() / file, *script);
    argv.push_back(file);
  }
  EXPECT_EQ(run(argv, {}, folder.path()), 0) << read_text(folder.path() / "out");
}

TEST(Script, LeavesOutWhatTheSiteDoesNotSay) {
  const auto found = directives(Rig().script());
  for (const std::string& directive : found)
    for (const char* absent : {"--account", "--qos", "--reservation", "--constraint", "--licenses", "--exclusive"})
      EXPECT_NE(directive.substr(0, directive.find('=')), absent);
}

TEST(Script, TakesWhatTheInnerLevelSaysFirst) {
  Rig rig;
  rig.cluster.submit.account = "of_cluster";
  rig.cluster.submit.qos = "of_cluster";
  rig.cluster.submit.constraint = "of_cluster";
  rig.cluster.partitions[0].submit.account = "of_partition";
  rig.cluster.partitions[0].submit.qos = "of_partition";
  rig.submit.account = "of_matrix";
  rig.submit.licenses = "matlab:2";
  rig.submit.reservation = "maintenance";
  rig.cluster.partitions[0].exclusive = true;
  rig.cluster.submit.sbatch = {"--mail-type=END --comment=\"two words\""};
  EXPECT_THAT(
      directives(rig.script()),
      IsSupersetOf({"--account=of_matrix", "--qos=of_partition", "--constraint=of_cluster", "--licenses=matlab:2",
                    "--reservation=maintenance", "--exclusive", "--mail-type=END", "--comment=two words"}));
}

TEST(Script, NamesTheGpuTypeOnlyWhereTheClusterDoes) {
  Rig rig;
  rig.cluster.gres_typed = false;
  EXPECT_THAT(directives(rig.script()), Contains("--gres=gpu:4"));
  rig.cluster.gres_name = "gpu_h";
  EXPECT_THAT(directives(rig.script()), Contains("--gres=gpu_h:4"));
  rig.cluster.request = GpuRequest::kGpusPerNode;
  EXPECT_THAT(directives(rig.script()), Contains("--gpus-per-node=4"));
}

TEST(Script, GivesHostMemoryAndCpusInProportionToTheGpus) {
  Rig rig("ultra_large");  // 512 GiB and 8 CPUs a GPU for 8 GPUs
  EXPECT_THAT(directives(rig.script()), IsSupersetOf({"--mem=524288M", "--cpus-per-task=8"}));
  rig.plan.jobs[0].gpus = 6;
  rig.plan.jobs[0].lanes = rig.plan.jobs[0].ranks = 12;  // two to a GPU: 48 CPUs for 12 ranks
  EXPECT_THAT(directives(rig.script()),
              IsSupersetOf({"--mem=393216M", "--cpus-per-task=4", "--ntasks=12", "--gres=gpu:h100:6"}));
  rig.cluster.partitions[0].memory_per_node = 100 * kGiB;
  EXPECT_THAT(directives(rig.script()), Contains("--mem=102400M"));
}

TEST(Script, StartsTheWorkerThroughSrunAndPassesTheCpusOn) {
  const Rig rig;
  Stage stage;
  ASSERT_EQ(stage.run_script(rig.script()), 0) << stage.output();
  EXPECT_THAT(stage.calls("srun"),
              ElementsAre(ElementsAre("--mpi=pmix", "--kill-on-bad-exit=1", "--wait=0", "--cpus-per-task=4",
                                      "orch-worker", "--job", stage.job_dir() + "/job.json")));
  EXPECT_EQ(stage.environment()["OMP_NUM_THREADS"], "4");
  EXPECT_EQ(stage.environment()["SLURM_EXPORT_ENV"], "ALL");
}

TEST(Script, RunsACommandInTheContainerOfItsCells) {
  Rig rig;
  rig.cluster.submit.container = "site.sif";
  rig.cluster.submit.container_runtime = "pyxis";
  rig.cluster.partitions[0].submit.container = "partition.sif";
  rig.plan.needs[0].kind = matrix::CellKind::kCommand;
  const auto container = [&] {
    const auto values = script_values(rig.plan.jobs[0], rig.plan, rig.expansion, rig.site());
    return std::pair(values["submit"]["container"].get<std::string>(),
                     values["submit"]["container_runtime"].get<std::string>());
  };
  EXPECT_EQ(container(), std::pair(std::string("partition.sif"), std::string("apptainer"))) << "the cells say nothing";
  // An image of its own runs as the site runs images, and the one that a level names as that level does.
  rig.plan.needs[0].container = "own.sif";
  EXPECT_EQ(container(), std::pair(std::string("own.sif"), std::string("pyxis")));
  rig.plan.needs[0].container = "site.sif";
  EXPECT_EQ(container(), std::pair(std::string("site.sif"), std::string("pyxis")));
  rig.plan.needs[0].container = "partition.sif";
  EXPECT_EQ(container(), std::pair(std::string("partition.sif"), std::string("apptainer")));
  // An environment of the host is not seen in an image.
  rig.submit.conda = "lab";
  rig.plan.needs[0].container = "own.sif";
  EXPECT_EQ(container().first, "own.sif");
  EXPECT_THAT(rig.script(), Not(HasSubstr("conda activate")));
  // What is no command runs in the job's container.
  rig.submit.conda.reset();
  rig.plan.needs[0].kind = matrix::CellKind::kEval;
  EXPECT_EQ(container().first, "partition.sif");
}

TEST(Script, OfACommandOfASharedProfileUsesTheContainerOfItsOwn) {
  Rig rig("ultra_large");
  const std::uint32_t own = rig.catalog.profiles.index_of("gpu_1").value();
  Profile profile = rig.catalog.profiles[own];
  profile.submit.container = "one.sif";
  rig.catalog.profiles.put(profile);
  rig.plan.sizings[0].chosen.profile = rig.catalog.profiles.index_of("gpu_1").value();
  rig.plan.needs[0].kind = matrix::CellKind::kCommand;
  const auto values = script_values(rig.plan.jobs[0], rig.plan, rig.expansion, rig.site());
  EXPECT_EQ(values["submit"]["container"], "one.sif");
}

TEST(Script, OfSeveralNodesNamesTheFirstOne) {
  Stage stage;
  ASSERT_EQ(stage.run_script(Rig("two_node").script()), 0) << stage.output();
  EXPECT_EQ(stage.environment()["MASTER_ADDR"], "node7");
  EXPECT_EQ(stage.environment()["MASTER_PORT"], "20042");
}

TEST(Script, RunsNothingOfWhatHostileValuesSay) {
  for (const char* runtime : {"apptainer", "pyxis"}) {
    SCOPED_TRACE(runtime);
    Stage stage;
    Rig rig;
    const std::string many_lines = kHostile + "\ntouch pwned\n";
    rig.expansion.name = kHostile;
    rig.submit.account = kHostile;
    rig.submit.qos = kHostile;
    rig.submit.reservation = kHostile;
    rig.submit.constraint = kHostile;
    rig.submit.licenses = kHostile;
    rig.submit.modules = {many_lines, "-x"};
    rig.submit.conda = many_lines;
    rig.submit.container = many_lines;
    rig.submit.container_runtime = runtime;
    rig.submit.environment = {{"EVIL", many_lines}, {"HF_TOKEN", "x"}};
    rig.submit.scratch = "$RECORD/${RECORD_NAME}/'\"`touch pwned`$(touch pwned)\n$";
    rig.submit.sbatch = {"--comment=\"$(touch pwned)\" --mail-user='`touch pwned`'"};
    const std::string script = rig.script();
    ASSERT_EQ(stage.run_script(script, "42", {"RECORD_NAME=$(touch pwned)"}), 0) << stage.output() << script;

    EXPECT_FALSE(stage.exists_anywhere("pwned")) << script;
    EXPECT_THAT(stage.calls("module"), ElementsAre(ElementsAre("load", many_lines), ElementsAre("load", "-x")));
    EXPECT_THAT(stage.calls("conda"),
                ElementsAre(ElementsAre("shell.bash", "hook"), ElementsAre("activate", many_lines)));
    ASSERT_EQ(stage.calls("srun").size(), 1u);
    const std::vector<std::string> srun = stage.calls("srun")[0];
    if (std::string(runtime) == "pyxis")
      EXPECT_THAT(srun, Contains("--container-image=" + many_lines));
    else
      EXPECT_THAT(srun, ElementsAre("--mpi=pmix", "--kill-on-bad-exit=1", "--wait=0", "--cpus-per-task=4", "apptainer",
                                    "exec", "--nv", "--bind", stage.job_dir(), many_lines, "orch-worker", "--job",
                                    stage.job_dir() + "/job.json"));
    EXPECT_EQ(stage.environment()["EVIL"], many_lines);
    EXPECT_EQ(stage.environment()["ORCH_SCRATCH"],
              stage.path().string() + "/$(touch pwned)/'\"`touch pwned`$(touch pwned)\n$/orch-42");
    EXPECT_FALSE(fs::exists(stage.environment()["ORCH_SCRATCH"])) << "the scratch folder is removed at the end";

    EXPECT_THAT(directives(script),
                IsSupersetOf({"--job-name=orch-" + kHostile + "-j1", "--account=" + kHostile, "--qos=" + kHostile,
                              "--reservation=" + kHostile, "--constraint=" + kHostile, "--licenses=" + kHostile,
                              std::string("--comment=$(touch pwned)"), std::string("--mail-user=`touch pwned`")}));
  }
}

TEST(Script, PrintsAModelsNameAsTextWhereverATemplateHasIt) {
  Rig rig;
  Model model = rig.catalog.models[0];
  model.name = kHostile + "\n$(touch pwned)";
  rig.catalog.models.put(model);
  rig.plan.jobs[0].models = {static_cast<std::uint32_t>(rig.catalog.models.size() - 1)};
  auto script = rig.render_text(
      "#!/bin/bash\nprintf '%s\\0' {{ job.models[0] }} \"{{ job.models[0] }}\" '{{ job.models[0] }}' >words\n"
      "cat >lines <<END\n{{ job.models[0] }}\nEND\n",
      "own.sbatch");
  ASSERT_TRUE(script.ok()) << script.error().what;
  Stage stage;
  ASSERT_EQ(stage.run_script(*script), 0) << stage.output();
  const std::string zero(1, '\0');
  EXPECT_EQ(read_text(stage.path() / "words"), model.name + zero + model.name + zero + model.name + zero);
  EXPECT_EQ(read_text(stage.path() / "lines"), model.name + "\n");
  EXPECT_FALSE(stage.exists_anywhere("pwned"));
}

TEST(Script, IsRefusedWithTheFieldWhenALineCannotHoldTheValue) {
  const auto refused = [](auto change) {
    Rig rig;
    change(rig);
    auto result = rig.result();
    return result ? "nothing was refused" : result.error().what;
  };
  EXPECT_THAT(refused([](Rig& rig) { rig.submit.account = "a\n#SBATCH --uid=0"; }), HasSubstr("account 'a"));
  EXPECT_THAT(refused([](Rig& rig) { rig.submit.qos = "a\r"; }), HasSubstr("qos"));
  EXPECT_THAT(refused([](Rig& rig) { rig.cluster.submit.reservation = "a\n"; }), HasSubstr("reservation"));
  EXPECT_THAT(refused([](Rig& rig) { rig.cluster.submit.constraint = "a\nb"; }), HasSubstr("constraint"));
  EXPECT_THAT(refused([](Rig& rig) { rig.submit.licenses = "\x1b[2J"; }), HasSubstr("licenses"));
  EXPECT_THAT(refused([](Rig& rig) { rig.submit.sbatch = {"--comment=a\ntouch pwned"}; }), HasSubstr("sbatch"));
  EXPECT_THAT(refused([](Rig& rig) { rig.expansion.name = "a\nb"; }), HasSubstr("the matrix's name"));
  EXPECT_THAT(refused([](Rig& rig) { rig.submit.container = std::string("a\0b", 3); }), HasSubstr("container"));
  EXPECT_THAT(refused([](Rig& rig) { rig.submit.environment = {{"A B", "x"}}; }), HasSubstr("environment 'A B'"));
  EXPECT_THAT(refused([](Rig& rig) { rig.submit.environment = {{"A$(touch pwned)", "x"}}; }), HasSubstr("environment"));
}

TEST(Script, LetsOneOfTwoCopiesOfASubmissionRun) {
  Stage stage;
  const std::string script = Rig().script();
  EXPECT_EQ(stage.run_script(script, "42"), 0);
  EXPECT_EQ(read_text(stage.path() / "job" / "claim"), "42\n");
  EXPECT_EQ(stage.run_script(script, "43"), 0);
  EXPECT_THAT(stage.output(), HasSubstr("superseded: job 42"));
  EXPECT_EQ(stage.calls("srun").size(), 1u) << "the second copy starts nothing";
  EXPECT_EQ(stage.run_script(script, "42", {"SLURM_RESTART_COUNT=1"}), 0);
  EXPECT_EQ(stage.calls("srun").size(), 2u) << "a requeued job goes on";
}

TEST(Script, EndsWithAnErrorWhenTheJobsFolderCannotBeClaimed) {
  Stage stage;
  fs::create_directory(stage.path() / "job" / "claim");
  EXPECT_EQ(stage.run_script(Rig().script()), 1);
  EXPECT_THAT(stage.calls("srun"), testing::IsEmpty());
}

TEST(Script, ForwardsTheSignalBeforeTheLimitAndEndsAsTheWorkerEnds) {
  for (const char* signal : {"USR1", "TERM"}) {
    Stage stage;
    // The worker tells its batch shell what Slurm would, is told in turn, and ends with a status of its own.
    stage.program("srun", std::string("told=no\ntrap 'told=yes' ") + signal + "\nkill -s " + signal +
                              " \"$PPID\"\nuntil [[ $told == yes ]]; do :; done\nexit 7\n");
    EXPECT_EQ(stage.run_script(Rig().script()), 7) << stage.output();
  }
}

TEST(Script, EndsAsTheWorkerDidWithoutASignal) {
  Stage stage;
  stage.program("srun", "exit 3\n");
  EXPECT_EQ(stage.run_script(Rig().script()), 3);
  Stage killed;
  killed.program("srun", "kill -s KILL $$\n");
  EXPECT_EQ(killed.run_script(Rig().script()), 137);
}

TEST(Script, SaysWhichVariableTheScratchFolderLacks) {
  Stage stage;
  Rig rig;
  rig.submit.scratch = "/scratch/$NO_SUCH_VARIABLE";
  EXPECT_NE(stage.run_script(rig.script()), 0);
  EXPECT_THAT(stage.output(), HasSubstr("NO_SUCH_VARIABLE"));
}
