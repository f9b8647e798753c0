#include "run/program_work.h"

#include <algorithm>
#include <cmath>
#include <csignal>

#include "base/text.h"
#include "run/metrics.h"

namespace orch::worker {
namespace {

constexpr std::size_t kMostReason = 2000;     // bytes of a log
constexpr std::size_t kMostSearched = 32768;  // bytes of a log

/// Sets variables of an environment in which every name is there once: of two getenv would find the first.
void set_variables(std::vector<std::string>& environment, const std::vector<std::string>& variables) {
  for (const std::string& variable : variables) {
    const std::string name = variable.substr(0, variable.find('=') + 1);
    std::erase_if(environment, [&](const std::string& other) { return other.starts_with(name); });
    environment.push_back(variable);
  }
}

/// What a program is told of its place; the cell's own environment does not go before it.
std::vector<std::string> variables_of(const wire::Leased& leased, const std::vector<std::string>& gpus) {
  std::vector<std::string> variables = {"CUDA_VISIBLE_DEVICES=" + join(gpus, ","),
                                        "ORCH_GPUS=" + std::to_string(gpus.size())};
  // Only MPS heeds it, where the site runs it: a cell computes on its part of the GPU, as it declared.
  if (leased.gpus > 0 && leased.gpus < 1)
    variables.push_back("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=" +
                        std::to_string(std::max(1L, std::lround(leased.gpus * 100))));
  return variables;
}

/// Of a program that ended badly by itself. `log` is the end of its log.
const char* cause_of(const Ending& ending, const std::string& log) {
  // What PyTorch, the CUDA driver and runtime, cuBLAS and JAX say.
  for (const char* words :
       {"CUDA out of memory", "torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError", "CUDA_ERROR_OUT_OF_MEMORY",
        "cudaErrorMemoryAllocation", "CUBLAS_STATUS_ALLOC_FAILED", "RESOURCE_EXHAUSTED: Out of memory"})
    if (log.find(words) != std::string::npos) return "gpu_memory";
  // As a shell says it: a program of it was killed; it cannot be run; it is not there.
  if (ending.code == 128 + SIGKILL) return "host_memory";
  if (ending.code == 126 || ending.code == 127) return "bad_input";
  return "unknown";
}

class ProgramWork : public Work {
 public:
  ProgramWork(Program program, const wire::Leased& leased, std::filesystem::path folder)
      : program_(std::move(program)),
        folder_(std::move(folder)),
        engine_(leased.engine),
        limit_(leased.time_limit),
        started_(Clock::now()) {}

  void stop(Clock::duration grace) override { program_.stop(grace); }
  Clock::time_point due() const override { return program_.due(); }
  std::optional<Outcome> poll(Clock::time_point now) override {
    const auto ending = program_.poll(now);
    if (!ending) return std::nullopt;
    Outcome outcome = outcome_of(*ending);
    outcome.seconds = std::chrono::duration<double>(now - started_).count();
    outcome.signal = ending->signal;
    return outcome;
  }

 private:
  Outcome outcome_of(const Ending& ending) const {
    Outcome outcome;
    const auto failed = [&](const char* cause, std::string what) {
      const std::string tail = last_lines(folder_ / "log", kMostReason);
      outcome.cause = cause;
      outcome.reason = std::move(what) + (tail.empty() ? "" : "; the end of its log: " + tail);
      return outcome;
    };
    if (ending.out_of_time) {
      outcome.out_of_time = true;
      return failed("timeout", "it ran for more than " + std::to_string(static_cast<long>(limit_)) + " s");
    }
    if (ending.signal == SIGKILL) return failed("host_memory", "it was killed, as for lack of memory");
    if (ending.signal || ending.code) {
      const std::string what = ending.signal ? "signal " + std::to_string(ending.signal) + " ended it"
                                             : "exit code " + std::to_string(ending.code);
      return failed(cause_of(ending, last_lines(folder_ / "log", kMostSearched)), what);
    }
    const auto metrics = read_metrics(folder_, engine_);
    if (!metrics) return failed("bad_input", metrics.error().what);
    outcome.what = Outcome::What::kDone;
    outcome.metrics = *metrics;
    return outcome;
  }

  Program program_;
  const std::filesystem::path folder_;
  const std::string engine_;
  const double limit_;  // seconds
  const Clock::time_point started_;
};

}  // namespace

Result<std::unique_ptr<Work>, StartError> start_program(Starter& starter, const wire::Leased& leased,
                                                        const std::filesystem::path& folder,
                                                        const std::vector<std::string>& gpus,
                                                        const std::vector<std::string>& environment) {
  // What an earlier start of this attempt left is not what this one measures.
  std::error_code ignored;
  std::filesystem::remove(folder / "result.json", ignored);
  Order order{leased.run, environment, folder, folder / "log"};
  set_variables(order.environment, leased.environment);
  set_variables(order.environment, variables_of(leased, gpus));
  auto program = Program::start(starter, order, after(leased.time_limit));
  if (!program) return program.error();
  return std::unique_ptr<Work>(std::make_unique<ProgramWork>(*std::move(program), leased, folder));
}

}  // namespace orch::worker
