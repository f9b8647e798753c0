// A trained model that others made, against a reference in float64 that was written for it.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/cpu/backend.h"
#include "model/decoder.h"
#include "support/test_data.h"

namespace orch::model {
namespace {

using kernels::Backend;
using nlohmann::json;

class Runner {
 public:
  Runner() {
    folder_ = test::test_data() / "models/tinystories-656k";
    it_ = *open_architecture(folder_);
    checkpoint_ = *Checkpoint::open(folder_);
    backend_ = kernels::make_cpu_backend({2, 0, {}});
    decoder_ = *Decoder::load(*backend_, it_, *find_sources(it_, checkpoint_, {}), {}, DType::kFp32);
  }
  /// logprob of each token after the first, by one forward
  std::vector<std::vector<float>> all_logits(const std::vector<int>& ids) {
    const auto n = static_cast<std::int64_t>(ids.size());
    std::vector<std::int32_t> tokens(ids.begin(), ids.end()), positions, slots, table;
    for (int i = 0; i < n; ++i) positions.push_back(i), slots.push_back(i);
    const std::int64_t pages = (n + 15) / 16;
    for (int p = 0; p < pages; ++p) table.insert(table.end(), {p, 0, 16});
    std::vector<std::int32_t> starts = {0, static_cast<std::int32_t>(n)}, lengths = {static_cast<std::int32_t>(n)};
    const auto ints = [](std::vector<std::int32_t>& v) {
      return kernels::Ints{v.data(), static_cast<std::int64_t>(v.size())};
    };
    Step step;
    step.tokens = ints(tokens), step.positions = ints(positions), step.slots = ints(slots);
    step.sequences = {ints(starts), ints(lengths), ints(table), 1, pages, n, n};
    const auto shape = decoder_->kv_shape(DType::kFp32);
    std::vector<std::unique_ptr<kernels::Buffer>> held;
    std::vector<kernels::KvCache> caches;
    for (std::size_t l = 0; l < it_.layers.size(); ++l) {
      held.push_back(*backend_->allocate(backend_->page_bytes(shape) * pages, "cache"));
      caches.push_back({shape, held.back()->data, pages});
    }
    const std::size_t bytes = decoder_->workspace({n, 1, n, pages});
    auto work = *backend_->allocate(bytes, "workspace");
    std::vector<float> hidden(n * it_.hidden), logits(n * it_.vocab);
    auto stream = backend_->make_stream();
    const kernels::Matrix h{hidden.data(), DType::kFp32, n, it_.hidden, it_.hidden};
    decoder_->forward(*stream, step, caches, {static_cast<std::byte*>(work->data), bytes}, h);
    decoder_->logits(*stream, h, {logits.data(), DType::kFp32, n, it_.vocab, it_.vocab});
    std::vector<std::vector<float>> rows;
    for (int i = 0; i < n; ++i) rows.emplace_back(logits.begin() + i * it_.vocab, logits.begin() + (i + 1) * it_.vocab);
    return rows;
  }
  std::filesystem::path folder_;
  Architecture it_;
  Checkpoint checkpoint_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Decoder> decoder_;
};

TEST(TinyStories, GivesTheReferencesLogProbabilities) {
  ORCH_NEEDS_TEST_DATA();
  Runner runner;
  std::ifstream in(runner.folder_ / "reference.json");
  const json reference = json::parse(in);
  for (const json& prompt : reference["prompts"]) {
    const auto ids = prompt["ids"].get<std::vector<int>>();
    const auto last = runner.all_logits(ids).back();
    double most = *std::max_element(last.begin(), last.end()), total = 0;
    for (const float x : last) total += std::exp(x - most);
    for (const json& pair : prompt["first_top5_logprobs"])
      EXPECT_NEAR(last[pair[0].get<std::size_t>()] - most - std::log(total), pair[1].get<double>(), 1e-4);
  }
}

}  // namespace
}  // namespace orch::model
