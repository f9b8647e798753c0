#include "kernels/cpu/backend.h"

#include <atomic>
#include <cassert>
#include <cstring>
#include <string>

#include "base/units.h"
#include "kernels/cpu/choices.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/threads.h"
#include "kernels/cpu/training.h"

namespace orch::kernels {
namespace {

using cpu::kBlockQueries;
using cpu::kBlockRows;
using cpu::kPanel;
using cpu::kScoreTokens;
using cpu::padded;
using cpu::PanelWeight;

const PanelWeight& panels_of(const Weight* weight) { return static_cast<const PanelWeight&>(*weight); }

std::int64_t blocks_of(std::int64_t rows) { return padded(rows, kBlockRows) / kBlockRows; }

template <class T>
T* part(std::span<std::byte> scratch, std::size_t from) {
  return reinterpret_cast<T*>(scratch.data() + from);
}

struct CpuStream : Stream {};

/// Memory that counts towards a limit while it is held.
class Ledger {
 public:
  explicit Ledger(std::size_t limit) : limit_(limit) {}
  bool take(std::size_t bytes) {
    if (limit_ > 0 && held_ + bytes > limit_) return false;
    held_ += bytes;
    return true;
  }
  void give_back(std::size_t bytes) { held_ -= bytes; }

 private:
  const std::size_t limit_;
  std::atomic<std::size_t> held_ = 0;
};

class CpuBuffer : public Buffer {
 public:
  CpuBuffer(cpu::Bytes memory, std::size_t size, std::shared_ptr<Ledger> ledger)
      : memory_(std::move(memory)), ledger_(std::move(ledger)) {
    data = memory_.get();
    bytes = size;
  }
  ~CpuBuffer() override { ledger_->give_back(bytes); }

 private:
  cpu::Bytes memory_;
  std::shared_ptr<Ledger> ledger_;
};

class CpuWeight : public PanelWeight {
 public:
  explicit CpuWeight(std::shared_ptr<Ledger> ledger) : ledger_(std::move(ledger)) {}
  ~CpuWeight() override { ledger_->give_back(bytes); }

 private:
  std::shared_ptr<Ledger> ledger_;
};

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options)
      : threads_(std::max(1, options.threads)),
        ledger_(std::make_shared<Ledger>(options.memory)),
        loops_(&chosen(options.loops)),
        training_(threads_, *loops_) {}

  std::string_view name() const override { return "cpu"; }

  Result<std::unique_ptr<Buffer>> allocate(std::size_t bytes, std::string_view what) override {
    auto memory = take(bytes, what);
    if (!memory) return memory.error();
    return std::unique_ptr<Buffer>(std::make_unique<CpuBuffer>(std::move(*memory), bytes, ledger_));
  }

  Result<std::unique_ptr<Weight>> pack(const WeightShape& shape, const RowReader& read,
                                       std::string_view what) override {
    auto weight = std::make_unique<CpuWeight>(ledger_);
    cpu::shape_panels(*weight, shape);
    auto memory = take(weight->bytes, what);
    if (!memory) {
      weight->bytes = 0;
      return memory.error();
    }
    weight->data = std::move(*memory);
    std::vector<std::vector<float>> rows(static_cast<std::size_t>(threads_.count()));
    threads_.run(weight->count * weight->panels, [&](std::int64_t unit, int thread) {
      cpu::fill_panel(*weight, unit / weight->panels, unit % weight->panels, read, *loops_,
                      rows[static_cast<std::size_t>(thread)]);
    });
    return std::unique_ptr<Weight>(std::move(weight));
  }

  std::size_t page_bytes(const KvShape& shape) const override { return cpu::PageLayout(shape).bytes; }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<CpuStream>(); }
  void upload(Stream&, void* to, const void* host, std::size_t bytes) override {
    if (bytes > 0) std::memcpy(to, host, bytes);
  }
  void download(Stream&, void* host, const void* from, std::size_t bytes) override {
    if (bytes > 0) std::memcpy(host, from, bytes);
  }
  void clear(Stream&, void* what, std::size_t bytes) override {
    if (bytes > 0) std::memset(what, 0, bytes);
  }
  Result<bool> wait(Stream&) override { return true; }

  std::size_t scratch(const Attention& op) const override {
    return static_cast<std::size_t>(threads_.count() * kBlockQueries * padded(op.sequences.max_length, kPageTokens)) *
           sizeof(float);
  }
  std::size_t scratch(const Experts& op) const override { return cpu::ExpertsScratch(op).bytes; }
  std::size_t scratch(const RoutedLinear& op) const override { return training_.scratch(op); }
  std::size_t scratch(const Score& op) const override {
    if (op.others) return training_.scratch(op);
    // Each chunk's statistics of each row, then each thread's logits.
    return static_cast<std::size_t>(chunks_of(op) * op.x.rows * kScoreColumns + threads_.count() * kScoreLogits) *
           sizeof(float);
  }
  std::size_t scratch(const Sample& op) const override {
    return static_cast<std::size_t>(threads_.count()) * cpu::sample_scratch(op);
  }
  std::size_t scratch(const NormBack& op) const override { return training_.scratch(op); }
  std::size_t scratch(const AttentionBack& op) const override { return training_.scratch(op); }
  std::size_t scratch(const ExpertsBack& op) const override { return training_.scratch(op); }
  std::size_t scratch(const RoutedLinearBack& op) const override { return training_.scratch(op); }
  std::size_t scratch(const RoutedGradient& op) const override { return training_.scratch(op); }
  std::size_t scratch(const ScoreBack& op) const override { return training_.scratch(op); }
  std::size_t scratch(const Repack& op) const override { return training_.scratch(op); }
  std::size_t scratch(const SquareSum& op) const override { return training_.scratch(op); }

  void run(Stream&, const Embed& op) override {
    threads_.run(op.x.rows, [&](std::int64_t row, int) { loops_->embed(op, row); });
  }
  void run(Stream&, const AddNorm& op) override {
    threads_.run(op.residual.rows, [&](std::int64_t row, int) { loops_->add_norm(op, row); });
  }
  void run(Stream&, const Linear& op) override {
    const PanelWeight& weight = panels_of(op.weight);
    // An adapter's results are as many as ever and cost little each: what counts is to come past them in their order.
    if (weight.cols <= kShallow && op.x.rows >= kBlockRows) {
      threads_.run(padded(op.x.rows, kShallowRows) / kShallowRows, [&](std::int64_t unit, int) {
        const std::int64_t from = unit * kShallowRows, to = std::min(op.x.rows, from + kShallowRows);
        for (std::int64_t panel = 0; panel < weight.panels; ++panel) loops_->linear(op, panel, from, to);
      });
      return;
    }
    const std::int64_t blocks = blocks_of(op.x.rows);
    // A panel's blocks follow each other: it is read from memory once.
    threads_.run(weight.panels * blocks, [&](std::int64_t unit, int) {
      const std::int64_t from = unit % blocks * kBlockRows;
      loops_->linear(op, unit / blocks, from, std::min(op.x.rows, from + kBlockRows));
    });
  }
  void run(Stream&, const HeadLinear& op) override {
    const PanelWeight& weight = panels_of(op.weight);
    const std::int64_t blocks = blocks_of(op.x.rows), each = weight.panels * blocks;
    threads_.run(weight.count * each, [&](std::int64_t unit, int) {
      const std::int64_t from = unit % blocks * kBlockRows;
      loops_->head_linear(op, unit / each, unit % each / blocks, from, std::min(op.x.rows, from + kBlockRows));
    });
  }
  void run(Stream&, const Rotary& op) override {
    threads_.run(op.qkv.rows, [&](std::int64_t row, int) { loops_->rotary(op, row); });
  }
  void run(Stream&, const LatentRotary& op) override {
    threads_.run(op.kv.rows, [&](std::int64_t row, int) { loops_->latent_rotary(op, row); });
  }
  void run(Stream&, const Attention& op, std::span<std::byte> scratch) override {
    const std::int64_t kv_heads = op.cache.shape.heads;
    const std::int64_t blocks = padded(op.sequences.max_rows * op.heads / kv_heads, kBlockQueries) / kBlockQueries;
    const std::int64_t each = kBlockQueries * padded(op.sequences.max_length, kPageTokens);
    threads_.run(op.sequences.count * kv_heads * blocks, [&](std::int64_t unit, int thread) {
      loops_->attention(op, unit / (kv_heads * blocks), unit / blocks % kv_heads, unit % blocks * kBlockQueries,
                        part<float>(scratch, 0) + thread * each);
    });
  }
  void run(Stream&, const Route& op) override {
    threads_.run(op.logits.rows, [&](std::int64_t row, int) { cpu::route(op, row); });
    cpu::count_choices(op);
  }
  void run(Stream&, const Experts& op, std::span<std::byte> scratch) override {
    const cpu::ExpertsScratch places(op);
    auto* order = part<std::int32_t>(scratch, places.order);
    auto* starts = part<std::int32_t>(scratch, places.starts);
    auto* gathered = part<float>(scratch, places.gathered);
    auto* out = part<float>(scratch, places.out);
    auto* blocks = part<cpu::ExpertBlock>(scratch, places.blocks);
    const std::int64_t count = cpu::sort_by_expert(op.experts, op.first, op.up->count, order, starts, blocks);
    const std::size_t hidden = places.hidden_row;
    threads_.run(count, [&](std::int64_t unit, int) {
      const auto [expert, from, to] = blocks[unit];
      loops_->expert(op, expert, {order + from, order + to},
                     part<std::byte>(scratch, places.hidden) + static_cast<std::size_t>(from) * hidden,
                     gathered + from * op.y.cols);
      // To the token's own place, where its sum finds it.
      for (std::int64_t i = from; i < to; ++i)
        std::copy_n(gathered + i * op.y.cols, op.y.cols, out + order[i] * op.y.cols);
    });
    threads_.run(op.y.rows,
                 [&](std::int64_t row, int) { loops_->expert_sum(op, row, out + row * op.active * op.y.cols); });
  }
  void run(Stream&, const RoutedLinear& op, std::span<std::byte> scratch) override { training_.run(op, scratch); }
  void run(Stream&, const Mix& op) override { training_.run(op); }
  void run(Stream&, const Gather& op) override {
    const std::size_t bytes = row_bytes(op.x);
    for (std::int64_t row = 0; row < op.y.rows; ++row)
      std::memcpy(rows(op.y, row, 1).data, rows(op.x, op.rows.data[row], 1).data, bytes);
  }
  void run(Stream&, const Score& op, std::span<std::byte> scratch) override {
    if (op.others) return training_.run(op, scratch);
    const std::int64_t chunks = chunks_of(op), blocks = blocks_of(op.x.rows);
    auto* stats = part<float>(scratch, 0);  // chunks × rows
    float* logits = stats + chunks * op.x.rows * kScoreColumns;
    for (std::int64_t target = 0; target < op.found.rows; ++target)
      *static_cast<float*>(rows(op.found, target, 1).data) = 0;
    threads_.run(chunks * blocks, [&](std::int64_t unit, int thread) {
      const std::int64_t from = unit % blocks * kBlockRows;
      loops_->score(op, unit / blocks, from, std::min(op.x.rows, from + kBlockRows),
                    stats + (unit / blocks * op.x.rows + from) * kScoreColumns, logits + thread * kScoreLogits);
    });
    threads_.run(op.x.rows, [&](std::int64_t row, int) {
      cpu::combine(stats + row * kScoreColumns, op.x.rows * kScoreColumns, chunks,
                   static_cast<float*>(rows(op.stats, row, 1).data));
    });
  }
  void run(Stream&, const CombineScores& op) override {
    const std::int64_t count = op.stats.rows / op.ranks;
    for (std::int64_t row = 0; row < count; ++row) cpu::finish_scores(op, row, count);
  }
  void run(Stream&, const Sample& op, std::span<std::byte> scratch) override {
    const std::size_t each = cpu::sample_scratch(op);
    threads_.run(op.logits.rows, [&](std::int64_t row, int thread) {
      cpu::sample(op, row, scratch.subspan(static_cast<std::size_t>(thread) * each, each));
    });
  }

  void run(Stream&, const Activate& op) override { training_.run(op); }
  void run(Stream&, const ActivateBack& op) override { training_.run(op); }
  void run(Stream&, const LinearBack& op) override { training_.run(op); }
  void run(Stream&, const HeadLinearBack& op) override { training_.run(op); }
  void run(Stream&, const WeightGradient& op) override { training_.run(op); }
  void run(Stream&, const RowSum& op) override { training_.run(op); }
  void run(Stream&, const RotaryBack& op) override { training_.run(op); }
  void run(Stream&, const LatentRotaryBack& op) override { training_.run(op); }
  void run(Stream&, const RouteBack& op) override { training_.run(op); }
  void run(Stream&, const EmbedBack& op) override { training_.run(op); }
  void run(Stream&, const Scatter& op) override { training_.run(op); }
  void run(Stream&, const Dropout& op) override { training_.run(op); }
  void run(Stream&, const Copy& op) override { training_.run(op); }
  void run(Stream&, const AdamW& op) override { training_.run(op); }
  void run(Stream&, const Blend& op) override { training_.run(op); }
  void run(Stream&, const NormBack& op, std::span<std::byte> scratch) override { training_.run(op, scratch); }
  void run(Stream&, const AttentionBack& op, std::span<std::byte> scratch) override { training_.run(op, scratch); }
  void run(Stream&, const ExpertsBack& op, std::span<std::byte> scratch) override { training_.run(op, scratch); }
  void run(Stream&, const RoutedLinearBack& op, std::span<std::byte> scratch) override { training_.run(op, scratch); }
  void run(Stream&, const RoutedGradient& op, std::span<std::byte> scratch) override { training_.run(op, scratch); }
  void run(Stream&, const Weigh& op) override { training_.run(op); }
  void run(Stream&, const ScoreBack& op, std::span<std::byte> scratch) override { training_.run(op, scratch); }
  void run(Stream&, const Repack& op, std::span<std::byte> scratch) override { training_.run(op, scratch); }
  void run(Stream&, const SquareSum& op, std::span<std::byte> scratch) override { training_.run(op, scratch); }

 private:
  static const cpu::Loops& chosen(std::string_view name) {
    for (const cpu::Loops* each : cpu::all_loops())
      if (each->name == name) return *each;
    return cpu::loops();
  }

  /// Weights of so few inputs, and the rows that then come past all of their panels together.
  static constexpr std::int64_t kShallow = 64, kShallowRows = 24;
  static constexpr std::int64_t kScoreLogits = kBlockRows * kScoreTokens;
  static std::int64_t chunks_of(const Score& op) {
    return std::max<std::int64_t>(1, padded(op.head->rows, kScoreTokens) / kScoreTokens);
  }

  Result<cpu::Bytes> take(std::size_t bytes, std::string_view what) {
    if (ledger_->take(bytes)) {
      if (auto memory = cpu::allocate_bytes(bytes)) return memory;
      ledger_->give_back(bytes);
    }
    return Error{"out of memory: no " + format_bytes(static_cast<double>(bytes)) + " for " + std::string(what)};
  }

  cpu::Threads threads_;
  std::shared_ptr<Ledger> ledger_;
  const cpu::Loops* loops_;
  cpu::Training training_;
};

}  // namespace

bool cpu_multiplies_bf16() { return cpu::loops().name.ends_with("with bf16"); }

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) { return std::make_unique<CpuBackend>(options); }

}  // namespace orch::kernels
