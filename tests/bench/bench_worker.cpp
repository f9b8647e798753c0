// What one worker does on this machine's processors, for scripts/bench_worker.py and bench_training.py, which say what
// is asked and put the figures together. Each command prints one JSON object.
//
//   orch_bench_worker make FOLDER SHAPE [--tokenizer FOLDER]   writes a model of random weights (1b, 100m, pupil, tiny)
//   orch_bench_worker load FOLDER                            reads it, from the disk and from the page cache
//   orch_bench_worker speed FOLDER                           decode and prefill beside what the machine can do
//   orch_bench_worker ask FOLDER TASK... --data FOLDER       tasks one after another, the model kept
//   orch_bench_worker products                               the best products of matrices, in fp32 and bf16
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <thread>

#include "bench/ceilings.h"
#include "bench/random_model.h"
#include "infer/engine.h"
#include "kernels/cpu/backend.h"
#include "native/asked_task.h"
#include "texts/evaluate.h"

namespace {

using namespace orch;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

double since(Clock::time_point begun) { return std::chrono::duration<double>(Clock::now() - begun).count(); }

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().what);
  return *std::move(result);
}

/// The most memory that this process has held, in bytes: of all kinds, what it mapped of files included.
std::int64_t peak_memory() {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) * 1024;
  return 0;
}

struct Options {
  fs::path folder, tokenizer, data;
  std::string shape;
  std::vector<std::string> tasks;
  std::vector<std::int64_t> prefill = {512, 2048};
  std::int64_t decode = 64;
  std::uint64_t limit = 100;
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  int repeat = 3;
  std::size_t buffer_mib = 1024;
  std::optional<int> shots;
  bool alone = false;
  bool quick = false;
};

/// A model in memory, as texts::OpenedModel has it, but for the rules of the engine, which are the benchmark's.
struct Model {
  std::unique_ptr<kernels::Backend> backend;
  std::unique_ptr<model::Decoder> decoder;
  std::int64_t weight_bytes = 0;  ///< that a token reads

  Model(const fs::path& folder, int threads) : backend(kernels::make_cpu_backend({threads, 0, {}})) {
    const model::Architecture it = must(model::open_architecture(folder));
    const model::Checkpoint checkpoint = must(model::Checkpoint::open(folder));
    const model::Sources sources = must(model::find_sources(it, checkpoint, {}));
    decoder = must(model::Decoder::load(*backend, it, sources, {}, {DType::kBf16, DType::kBf16}));
    // All of these models are tied: each weight is read once, the embedding as the head.
    weight_bytes = model::parameters_of(it, sources) * 2;
  }
  infer::Engine engine(bool shares = true) {
    infer::EngineRules rules;
    rules.cache_dtype = DType::kBf16;
    rules.shares_prefixes = shares;
    return {*backend, *decoder, rules};
  }
};

std::vector<std::int32_t> tokens(std::int64_t count, std::int64_t vocab, std::int64_t seed) {
  std::vector<std::int32_t> all(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < all.size(); ++i)
    all[i] = static_cast<std::int32_t>((static_cast<std::int64_t>(i + 1) * 7919 + seed * 104729) % vocab);
  return all;
}

/// Reads all of a file as fast as it goes, by so many threads, into memory that nobody had before, in the system's
/// large pages: where a model comes to stand too.
double plain_read(const fs::path& path, int threads) {
  constexpr std::size_t kBlock = std::size_t{4} << 20;
  const auto begun = Clock::now();
  std::vector<std::thread> all;
  const auto size = static_cast<std::size_t>(fs::file_size(path));
  void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory for what is in " + path.string());
  madvise(memory, size, MADV_HUGEPAGE);
  for (int t = 0; t < threads; ++t)
    all.emplace_back([&, t] {
      const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
      for (std::size_t at = static_cast<std::size_t>(t) * kBlock; at < size;
           at += kBlock * static_cast<std::size_t>(threads))
        if (pread(file, static_cast<char*>(memory) + at, std::min(kBlock, size - at), static_cast<off_t>(at)) < 0)
          break;
      close(file);
    });
  for (std::thread& thread : all) thread.join();
  const double seconds = since(begun);
  munmap(memory, size);
  return seconds;
}

void forget(const fs::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fdatasync(file) != 0 || posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) != 0)
    throw std::runtime_error(path.string() + ": the page cache keeps it");
  close(file);
}

ordered_json load(const Options& options) {
  const fs::path file = options.folder / "model.safetensors";
  ordered_json all = {{"bytes", fs::file_size(file)}};
  const auto load_once = [&] {
    const auto begun = Clock::now();
    const Model model(options.folder, options.threads);
    return since(begun);
  };
  // In turns, from the disk first.
  for (const bool cached : {false, true}) {
    double read = 1e9, loaded = 1e9;
    for (int i = 0; i < options.repeat; ++i) {
      if (!cached) forget(file);
      read = std::min(read, plain_read(file, options.threads));
      if (!cached) forget(file);
      loaded = std::min(loaded, load_once());
    }
    all[cached ? "read_cached_s" : "read_disk_s"] = read;
    all[cached ? "load_cached_s" : "load_disk_s"] = loaded;
  }
  all["peak_bytes"] = peak_memory();
  return all;
}

/// Operations of the products and of attention over `count` tokens of one text; the head sees the last one alone.
double operations(const model::Architecture& it, std::int64_t weights, std::int64_t count) {
  const double head = 2.0 * static_cast<double>(it.vocab * it.hidden);
  const double products = 2.0 * (static_cast<double>(weights) / 2 - head / 2) * static_cast<double>(count);
  const double pairs = static_cast<double>(count) * static_cast<double>(count + 1) / 2;
  return products + head +
         4.0 * it.attention.heads * it.attention.head_dim * pairs * static_cast<double>(it.layers.size());
}

ordered_json speed(const Options& options) {
  const std::size_t buffer = options.buffer_mib << 20;
  Model model(options.folder, options.threads);
  const model::Architecture& it = model.decoder->architecture();
  infer::Engine engine = model.engine();

  // Each round between two of plain reading: on machines that others use too the bandwidth is another every few
  // seconds.
  double best = 0, reads = 0, before = bench::read_bandwidth(buffer, options.threads);
  std::vector<double> shares;
  for (int round = 0; round < options.repeat; ++round) {
    std::vector<Clock::time_point> at;
    const std::vector<infer::WriteRequest> requests = {{tokens(16, it.vocab, round), options.decode, {}}};
    must(engine.write(requests, [&](std::size_t, std::span<const std::int32_t>) {
      at.push_back(Clock::now());
      return false;
    }));
    const std::chrono::duration<double> seconds = at.back() - at.front();
    const double speed = static_cast<double>(at.size() - 1) / seconds.count();
    const double after = bench::read_bandwidth(buffer, options.threads);
    shares.push_back(speed * static_cast<double>(model.weight_bytes) / std::max(before, after));
    best = std::max(best, speed);
    reads = std::max({reads, before, after});
    before = after;
  }
  ordered_json all = {{"weight_bytes", model.weight_bytes},
                      {"read_bytes_s", reads},
                      {"decode_tokens_s", best},
                      {"decode_shares", shares}};

  double most = bench::best_product(DType::kBf16, options.threads, options.quick);
  all["prefill"] = ordered_json::array();
  for (const std::int64_t count : options.prefill) {
    double seconds = 1e9;
    for (int round = 0; round < options.repeat; ++round) {
      const std::vector<infer::ScoreRequest> requests = {{tokens(count, it.vocab, round), {1}}};
      const auto begun = Clock::now();
      must(engine.score(requests));
      seconds = std::min(seconds, since(begun));
    }
    all["prefill"].push_back({{"tokens", count},
                              {"tokens_s", static_cast<double>(count) / seconds},
                              {"flop_s", operations(it, model.weight_bytes, count) / seconds}});
  }
  most = std::max(most, bench::best_product(DType::kBf16, options.threads, options.quick));
  all["product_flop_s"] = most;
  all["peak_bytes"] = peak_memory();
  return all;
}

ordered_json ask(const Options& options, const fs::path& program) {
  const auto begun = Clock::now();
  Model model(options.folder, options.threads);
  const double loaded = since(begun);
  infer::Engine engine = model.engine(!options.alone);
  texts::TextEngine texts(engine, must(tokenizer::Tokenizer::open(options.folder)));
  ordered_json all = {{"load_s", loaded}, {"tasks", ordered_json::array()}};
  for (const std::string& task : options.tasks) {
    native::TaskAsked asked;
    asked.task = task;
    asked.data = options.data;
    asked.model = options.folder;
    asked.settings.limit = options.limit;
    asked.settings.shots = options.shots;
    const auto started = Clock::now();
    const auto opened = must(native::AskedTask::open(asked, program));
    std::vector<std::uint64_t> samples(opened->evaluation().questions().size());
    std::iota(samples.begin(), samples.end(), 0U);
    const infer::EngineCounts before = engine.counts();
    std::vector<eval::SampleScore> scored;
    const auto asking = Clock::now();
    must(texts::evaluate(texts, opened->evaluation(), samples, [&](std::span<const eval::SampleScore> some) {
      scored.insert(scored.end(), some.begin(), some.end());
      return Result<bool>(true);
    }));
    const eval::Summary summary = must(opened->evaluation().summary(scored));
    all["tasks"].push_back({{"task", task},
                            {"samples", samples.size()},
                            {"score", pooled(summary.rows.front().parts).value},
                            {"ask_s", since(asking)},
                            {"seconds", since(started)},
                            {"tokens", engine.counts().tokens - before.tokens},
                            {"tokens_asked", engine.counts().tokens_asked - before.tokens_asked}});
  }
  all["seconds"] = since(begun);
  all["peak_bytes"] = peak_memory();
  return all;
}

ordered_json make(const Options& options) {
  const bench::ModelShape* shape = bench::shape_of(options.shape);
  if (!shape) throw std::runtime_error("no shape '" + options.shape + "': 1b, 100m, pupil or tiny");
  must(bench::write_model(*shape, options.folder, options.tokenizer));
  return {{"bytes", fs::file_size(options.folder / "model.safetensors")}};
}

ordered_json products(const Options& options) {
  ordered_json all;
  for (const auto& [dtype, name] : {std::pair(DType::kFp32, "fp32"), {DType::kBf16, "bf16"}})
    all[name] = bench::best_product(dtype, options.threads, options.quick);
  return all;
}

}  // namespace

int main(int count, char** words) {
  Options options;
  CLI::App app("What one worker does on this machine's processors.");
  app.require_subcommand(1);
  CLI::App* const making = app.add_subcommand("make", "writes a model of random weights");
  CLI::App* const loading = app.add_subcommand("load", "reads it, from the disk and from the page cache");
  CLI::App* const speeding = app.add_subcommand("speed", "decode and prefill beside what the machine can do");
  CLI::App* const asking = app.add_subcommand("ask", "tasks one after another, the model kept");
  CLI::App* const multiplying = app.add_subcommand("products", "the best products of matrices, in FLOP/s");
  for (CLI::App* each : {making, loading, speeding, asking}) {
    each->add_option("folder", options.folder)->required();
    each->add_option("--threads", options.threads);
    each->add_option("--repeat", options.repeat, "the best counts");
  }
  multiplying->add_option("--threads", options.threads);
  multiplying->add_flag("--quick", options.quick, "only to see that it runs");
  making->add_option("shape", options.shape, "1b, 100m, pupil or tiny")->required();
  making->add_option("--tokenizer", options.tokenizer, "its vocab.json and merges.txt become the model's");
  speeding->add_option("--prefill", options.prefill, "tokens of a text")->delimiter(',');
  speeding->add_option("--decode", options.decode, "tokens that are written");
  speeding->add_option("--buffer", options.buffer_mib, "MiB that are read for the bandwidth");
  speeding->add_flag("--quick", options.quick, "only to see that it runs");
  asking->add_option("tasks", options.tasks)->required();
  asking->add_option("--data", options.data)->required();
  asking->add_option("--limit", options.limit, "questions of a task");
  asking->add_option("--shots", options.shots, "worked examples");
  asking->add_flag("--alone", options.alone, "nothing that questions begin with is shared");
  CLI11_PARSE(app, count, words);
  try {
    std::error_code ignored;
    const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
    ordered_json all;
    if (*making) all = make(options);
    if (*loading) all = load(options);
    if (*speeding) all = speed(options);
    if (*asking) all = ask(options, program);
    if (*multiplying) all = products(options);
    std::cout << all.dump() << std::endl;
    return 0;
  } catch (const std::exception& problem) {
    std::cerr << "orch_bench_worker: " << problem.what() << std::endl;
    return 1;
  }
}
