#include "cluster/slurm_refusals.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace orch::cluster {
namespace {

using Why = control::event::NotSubmitted::Why;

constexpr std::string_view kBusy = "the controller is busy or away; it is tried again later";
constexpr std::string_view kFull = "a limit of the account, the QOS or the user is reached; it is tried again later";
constexpr std::string_view kBadAccount = "the cluster file, the matrix or the policy names it; see sacctmgr show assoc";

// sbatch prints Slurm's text of the error number (slurm_strerror) after `sbatch: error: Batch job submission failed: `.
// The words are those of Slurm 22.05 to 25.05, and parts short enough to have survived from 20.11.
constexpr std::array kRefusals = {
    // The answer was lost on its way: the job may be there.
    Refusal{"Socket timed out on send/recv", Why::kUnclear,
            "the controller took the request and did not answer in time: it may have the job; the next look tells"},
    Refusal{"Zero Bytes were transmitted or received", Why::kUnclear,
            "the connection broke: the controller may have the job; the next look tells"},
    Refusal{"Message receive failure", Why::kUnclear, "the controller may have the job; the next look tells"},
    Refusal{"Unexpected message received", Why::kUnclear, "the controller may have the job; the next look tells"},
    Refusal{"Header lengths are longer than data received", Why::kUnclear,
            "the controller may have the job; the next look tells"},

    // For now.
    Refusal{"Slurm temporarily unable to accept job", Why::kLater, kBusy},
    Refusal{"Unable to contact slurm controller", Why::kLater, kBusy},
    Refusal{"Slurm backup controller in standby mode", Why::kLater, kBusy},
    Refusal{"Controller is in standby mode", Why::kLater, kBusy},
    Refusal{"Resource temporarily unavailable", Why::kLater, kBusy},
    Refusal{"Connection refused", Why::kLater, kBusy},
    Refusal{"Connection timed out", Why::kLater, kBusy},
    Refusal{"Communication connection failure", Why::kLater, kBusy},
    Refusal{"Rate limit exceeded", Why::kLater, "the controller asks for fewer calls; it is tried again later"},
    Refusal{"Requests are rate-limited", Why::kLater, "the controller asks for fewer calls; it is tried again later"},
    Refusal{"Job dependency can't be resolved yet", Why::kLater, kBusy},
    Refusal{"Required partition not available", Why::kLater,
            "the partition is down, drained or inactive; it is tried again later"},
    Refusal{"Required node not available", Why::kLater, "nodes are down, drained or reserved; it is tried again later"},
    Refusal{"Requested partition configuration not available now", Why::kLater,
            "the partition cannot run it as it is now; it is tried again later"},
    Refusal{"Requested nodes are busy", Why::kLater, "it is tried again later"},
    Refusal{"Immediate execution impossible", Why::kLater, "it is tried again later"},
    // Limits of one job stand before the word on limits in general: waiting will not help.
    Refusal{"PerJob", Why::kMistake, "one job may not have so much under this account or QOS; see sacctmgr show qos"},
    Refusal{"QOSMin", Why::kMistake, "a job must have more than this under this QOS; see sacctmgr show qos"},
    Refusal{"Job violates accounting/QOS policy", Why::kLater, kFull},
    Refusal{"Job/step limit", Why::kLater, kFull},
    Refusal{"MaxSubmitJob", Why::kLater, kFull},
    Refusal{"SubmitJobsLimit", Why::kLater, kFull},
    Refusal{"JobLimit", Why::kLater, kFull},
    Refusal{"Disk quota exceeded", Why::kLater,
            "the folder of the job or of Slurm's spool is full; it is tried again later"},
    Refusal{"No space left on device", Why::kLater,
            "the folder of the job or of Slurm's spool is full; it is tried again later"},
    Refusal{"I/O error writing script/environment to file", Why::kLater,
            "the controller could not write down the job; it is tried again later"},
    Refusal{"Protocol authentication error", Why::kLater,
            "munge does not run here or there, or the clocks differ; it is tried again later"},
    Refusal{"Invalid authentication credential", Why::kLater,
            "munge does not run here or there, or the clocks differ; it is tried again later"},
    Refusal{"Munge encode failed", Why::kLater, "munge does not run on this machine; it is tried again later"},
    Refusal{"Incompatible versions of client and server", Why::kLater,
            "Slurm is being upgraded, or sbatch here is of another release; it is tried again later"},
    Refusal{"Could not establish a configuration source", Why::kLater,
            "slurm.conf is not to be had here, or the configless server is away; it is tried again later"},
    Refusal{"Configuration file not found", Why::kLater,
            "slurm.conf is not to be had here, or the configless server is away; it is tried again later"},

    // As it stands it will never work.
    Refusal{"Invalid partition name specified", Why::kMistake, "the cluster file names a partition that is not there"},
    Refusal{"No partition specified or system default partition", Why::kMistake,
            "the cluster file is to name a partition"},
    Refusal{"User's group not permitted to use this partition", Why::kMistake,
            "this account may not use the partition"},
    Refusal{"Invalid account or account/partition combination", Why::kMistake, kBadAccount},
    Refusal{"Invalid qos specification", Why::kMistake, kBadAccount},
    Refusal{"Invalid wckey specification", Why::kMistake, kBadAccount},
    Refusal{"Requested reservation is invalid", Why::kMistake, "see scontrol show reservation"},
    Refusal{"Access denied to requested reservation", Why::kMistake, "see scontrol show reservation"},
    Refusal{"Invalid generic resource (gres) specification", Why::kMistake,
            "the cluster file names GPUs of a type that Slurm does not have; see sinfo -o %G"},
    Refusal{"Invalid GRES specification", Why::kMistake,
            "the cluster file names GPUs of a type that Slurm does not have; see sinfo -o %G"},
    Refusal{"Invalid gres specification", Why::kMistake,
            "the cluster file names GPUs of a type that Slurm does not have; see sinfo -o %G"},
    Refusal{"Invalid Trackable RESource (TRES) specification", Why::kMistake,
            "the cluster file names GPUs of a type that Slurm does not have; see sinfo -o %G"},
    Refusal{"Requested node configuration is not available", Why::kMistake,
            "no node of the partition has so many GPUs, CPUs or so much memory"},
    Refusal{"Node count specification invalid", Why::kMistake, "the partition does not have so many nodes for one job"},
    Refusal{"Invalid node count", Why::kMistake, "the partition does not have so many nodes for one job"},
    Refusal{"More processors requested than permitted", Why::kMistake, "no job may have so many CPUs"},
    Refusal{"CPU count specification invalid", Why::kMistake, "no node has so many CPUs"},
    Refusal{"CPU count per node can not be satisfied", Why::kMistake, "no node has so many CPUs"},
    Refusal{"CPU frequency specification invalid", Why::kMistake, "an sbatch option of the cluster file is wrong"},
    Refusal{"Requested time limit is invalid", Why::kMistake,
            "the time limit is over that of the partition; the cluster file's max_time is to say so"},
    Refusal{"Invalid time limit", Why::kMistake, "the time limit is over that of the partition"},
    Refusal{"Memory required by task is not available", Why::kMistake, "no node has so much memory"},
    Refusal{"Memory specification can not be satisfied", Why::kMistake, "no node has so much memory"},
    Refusal{"Invalid feature specification", Why::kMistake,
            "the cluster file's 'constraint' names no feature of a node"},
    Refusal{"Invalid license specification", Why::kMistake, "the cluster file's 'licenses' names none that is there"},
    Refusal{"Invalid node name specified", Why::kMistake, "a node that is named to be left out or taken is not there"},
    Refusal{"Access/permission denied", Why::kMistake, "this account may not submit so"},
    Refusal{"Invalid user id", Why::kMistake, "the controller does not know this account"},
    Refusal{"Invalid job name", Why::kMistake, "the site's submit plugin does not take the name"},
    Refusal{"Job script is not specified", Why::kMistake, "the script is empty"},
    Refusal{"This does not look like a batch script", Why::kMistake, "the template is to begin with '#!'"},
    Refusal{"Batch script is empty", Why::kMistake, "the template gave an empty script"},
    Refusal{"contains DOS line breaks", Why::kMistake, "the template is to end its lines in the way of Unix"},
    Refusal{"Pathname of a file, directory or other parameter too long", Why::kMistake,
            "the state directory is to have a shorter path"},
    Refusal{"unrecognized option", Why::kMistake, "this Slurm's sbatch does not know an option that the script gives"},
    Refusal{"invalid option", Why::kMistake, "this Slurm's sbatch does not know an option that the script gives"},
    Refusal{"Unable to open file", Why::kLater, "the job's script could not be read; it is tried again later"},
    // Last: sbatch says it of any wrong option, with the option's name.
    Refusal{"Invalid --", Why::kMistake, "an sbatch option of the script is wrong"},
};

/// Not so with 255, by which Slurm's commands end when they do not know an option.
bool was_killed(const RunError& failed) { return failed.code > 128 && failed.code <= 128 + 64; }

}  // namespace

std::span<const Refusal> refusals() { return kRefusals; }

SubmitError refused(const RunError& failed) {
  switch (failed.kind) {
    case RunFailure::kTimedOut:
    case RunFailure::kTooMuch:
      return {Why::kUnclear, failed.what + "; Slurm may have the job all the same, the next look tells"};
    case RunFailure::kNotFound:
    case RunFailure::kSystem:
      return {Why::kLater, failed.what + "; it is tried again later"};
    case RunFailure::kNonZero:
      break;
  }
  for (const Refusal& refusal : kRefusals)
    if (failed.said.find(refusal.words) != std::string::npos)
      return {refusal.why, failed.what + "; " + std::string(refusal.advice)};
  if (was_killed(failed))
    return {Why::kUnclear, failed.what + "; Slurm may have the job all the same, the next look tells"};
  // sbatch ends so when the controller said no (a site's submit plugin may say it in any words).
  return {Why::kLater, failed.what + "; these words are not known here, so it is tried again later"};
}

bool nobody_answered(const RunError& failed) {
  if (failed.kind == RunFailure::kTooMuch) return false;
  if (failed.kind != RunFailure::kNonZero) return true;
  for (const std::string_view words :
       {"Unable to contact", "timed out", "Connection refused", "Communication connection failure", "Zero Bytes",
        "in standby mode", "temporarily unable", "temporarily unavailable", "ate limit", "rate-limited",
        "configuration source"})
    if (failed.said.find(words) != std::string::npos) return true;
  return was_killed(failed);
}

}  // namespace orch::cluster
