#include "cluster/directives.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/slurm.h"

namespace orch::cluster {
namespace {

using testing::AllOf, testing::Contains, testing::Each, testing::ElementsAre, testing::Not, testing::Pair,
    testing::StartsWith;

TEST(Directives, AreReadInAllTheWaysInWhichTheyCanBeWritten) {
  const Directives said = read_directives(
      "#!/bin/bash\n"
      "# a remark\n"
      "#SBATCH --time=01:00:00 --requeue -N 2  # and a remark\n"
      "#SBATCH --gres gpu:h100:4 -n8\n"
      "#SBATCH --output='my log-%j.out' --constraint=\"a&b\"\n"
      "\n"
      "#SBATCH --mem=4G\n"
      "#SBATCH --mem=8G\r\n");
  EXPECT_THAT(said.options,
              ElementsAre(Pair("time", "01:00:00"), Pair("requeue", ""), Pair("nodes", "2"), Pair("gres", "gpu:h100:4"),
                          Pair("ntasks", "8"), Pair("output", "my log-%j.out"), Pair("constraint", "a&b"),
                          Pair("mem", "4G"), Pair("mem", "8G")));
  EXPECT_EQ(*said.find("mem"), "8G");
  EXPECT_FALSE(said.has("partition"));
}

TEST(Directives, EndAtTheFirstCommand) {
  const Directives said = read_directives("#!/bin/bash\n#SBATCH -n 1\necho\n#SBATCH --mem=1G\n");
  EXPECT_THAT(said.options, ElementsAre(Pair("ntasks", "1")));
}

JobToSubmit job() { return {"orch-a-1", "/jobs/1/job.sh", "/jobs/1", {}}; }

TEST(SubmitArguments, NameTheJobAndItsDirectory) {
  EXPECT_THAT(submit_arguments(job(), "#!/bin/bash\n"),
              ElementsAre("sbatch", "--parsable", "--job-name=orch-a-1", "--comment=orch-a-1", "--chdir=/jobs/1",
                          "--open-mode=append", "--requeue", "/jobs/1/job.sh"));
}

TEST(SubmitArguments, DoNotRepeatWhatTheScriptSays) {
  EXPECT_THAT(submit_arguments(job(), "#!/bin/bash\n#SBATCH --requeue\n#SBATCH --open-mode=append\n"),
              AllOf(Not(Contains("--requeue")), Not(Contains(StartsWith("--open-mode")))));
}

TEST(SubmitArguments, LeaveOutTheNodesOfTheScriptToo) {
  JobToSubmit avoiding = job();
  avoiding.excluded_nodes = {"gpu3", "gpu4"};
  EXPECT_THAT(submit_arguments(avoiding, "#!/bin/bash\n"), Contains("--exclude=gpu3,gpu4"));
  EXPECT_THAT(submit_arguments(avoiding, "#!/bin/bash\n#SBATCH --exclude=old[1-2]\n"),
              Contains("--exclude=old[1-2],gpu3,gpu4"));
}

TEST(SubmitArguments, HandOnTheDirectoryWhereASiteHandsOnLittle) {
  EXPECT_THAT(submit_arguments(job(), "#!/bin/bash\n#SBATCH --export=ALL\n"), Each(Not(StartsWith("--export"))));
  EXPECT_THAT(submit_arguments(job(), "#!/bin/bash\n#SBATCH --export=NONE\n"), Contains("--export=ORCH_JOB_DIR"));
  EXPECT_THAT(submit_arguments(job(), "#!/bin/bash\n#SBATCH --export=HOME,A=1\n"),
              Contains("--export=HOME,A=1,ORCH_JOB_DIR"));
}

}  // namespace
}  // namespace orch::cluster
