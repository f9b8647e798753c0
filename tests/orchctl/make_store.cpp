// make_store DIRECTORY: the store of a daemon that is down, with a small history for the tests of this folder. A sweep
// `core` of three cells: the first is done, the second failed, the third waits.
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <stdexcept>

#include "control/planning.h"
#include "control/state.h"
#include "policy/policy.h"
#include "store/store.h"

namespace orch {
namespace {

using namespace control;

class Daemon {
 public:
  explicit Daemon(const std::filesystem::path& directory)
      : store_(open(directory)), state_(policy::Policy(), store_->instance()) {
    put(event::Started{});
  }

  void put(Event event) {
    std::vector<Effects> group(1);
    group[0] = apply(state_, std::move(event), now_);
    if (const auto done = store_->commit(group); !done) throw std::runtime_error(done.error().what);
    for (const Action& action : group[0].actions) {
      if (const auto* answer = std::get_if<action::Answer>(&action); answer && !answer->given.empty())
        given_ = answer->given.front();
      if (std::holds_alternative<action::Plan>(action)) put(plan_jobs(snapshot(state_, now_)));
    }
  }

  void submit() {
    event::SubmitSweep sweep;
    sweep.name = "core";
    sweep.user = "mara";
    sweep.needs.resize(1);
    sweep.needs[0].resources = {1, 1, 1, 0};
    sweep.needs[0].profile = "small";
    sweep.needs[0].most = 3600;
    for (const char* const task : {"x", "y", "z"}) {
      event::AskedCell cell;
      cell.key.bytes = {static_cast<std::uint8_t>(task[0]), 0xab, 0xcd, 0xef};
      cell.model = "a";
      cell.task = task;
      cell.expected = cell.bound = 60;
      cell.content = "{}";
      cell.settings = R"({"seed": 0})";
      sweep.cells.push_back(std::move(cell));
    }
    put(std::move(sweep));
  }

  void run(event::Delivered::What what, const std::string& metrics, const std::string& reason) {
    const Job& job = state_.jobs.at(JobId{1});
    put(event::AskLease{{}, job.name, job.epoch, 3600, 1, {}, {}});
    event::Delivered item;
    item.chunk = given_.chunk;
    item.ticket = given_.ticket;
    item.what = what;
    item.metrics = metrics;
    item.cause = policy::Cause::kBadInput;
    item.reason = reason;
    item.gpu_seconds = item.seconds = 30;
    put(event::Deliver{{}, job.name, job.epoch, {item}});
  }

  void claim() {
    const std::string name = state_.jobs.at(JobId{1}).name;
    put(event::Submitted{JobId{1}, "4711"});
    put(event::Claim{{}, name, "4711", 0, "copy", {"n1"}});
  }

 private:
  static std::unique_ptr<store::Store> open(const std::filesystem::path& directory) {
    auto store = store::Store::open(directory, {.read_only = false, .allow_network_disk = true});
    if (!store) throw std::runtime_error(store.error().what);
    return *std::move(store);
  }

  std::unique_ptr<store::Store> store_;
  State state_;
  Now now_{std::chrono::seconds(1), std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now())};
  action::Answer::Given given_;
};

}  // namespace
}  // namespace orch

int main(int argc, char** argv) {
  using What = orch::control::event::Delivered::What;
  try {
    if (argc != 2) throw std::runtime_error("make_store DIRECTORY");
    orch::Daemon daemon(argv[1]);
    daemon.submit();
    daemon.claim();
    daemon.run(What::kDone, R"({"acc": {"value": 0.5, "stderr": 0.01}})", "");
    daemon.run(What::kFailed, "", "no such file");
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return EXIT_FAILURE;
  }
}
