#include "kernels/plan/backend.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/units.h"
#include "kernels/operands.h"

namespace orch::kernels {
namespace {

/// Rows of the head whose statistics a score keeps apart.
constexpr std::int64_t kScoreTokens = 2048;

std::size_t size_of(double bytes) { return static_cast<std::size_t>(bytes); }
double real(std::int64_t value) { return static_cast<double>(value); }

struct Ledger {
  std::size_t limit = 0, held = 0, most = 0;
  std::uintptr_t next = 1 << 20;  // where nothing is mapped

  bool take(std::size_t bytes) {
    if (limit > 0 && (bytes > limit || held > limit - bytes)) return false;
    held += bytes;
    most = std::max(most, held);
    return true;
  }
  void give_back(std::size_t bytes) { held -= bytes; }
};

class PlanBuffer : public Buffer {
 public:
  PlanBuffer(std::shared_ptr<Ledger> ledger, std::size_t size) : ledger_(std::move(ledger)) {
    data = reinterpret_cast<void*>(ledger_->next);  // NOLINT(performance-no-int-to-ptr): nobody goes there
    ledger_->next += (size + 4095) / 4096 * 4096;
    bytes = size;
  }
  ~PlanBuffer() override { ledger_->give_back(bytes); }

 private:
  std::shared_ptr<Ledger> ledger_;
};

class PlanWeight : public Weight {
 public:
  explicit PlanWeight(std::shared_ptr<Ledger> ledger) : ledger_(std::move(ledger)) {}
  ~PlanWeight() override { ledger_->give_back(bytes); }

 private:
  std::shared_ptr<Ledger> ledger_;
};

class Stretch : public Stream {};

class Plan : public PlanBackend {
 public:
  explicit Plan(std::size_t memory) : ledger_(std::make_shared<Ledger>()) { ledger_->limit = memory; }

  std::string_view name() const override { return "plan"; }
  std::size_t bytes() const override { return ledger_->held; }
  std::size_t peak() const override { return ledger_->most; }
  const std::map<std::string, PlannedOps, std::less<>>& ops() const override { return ops_; }

  Result<std::unique_ptr<Buffer>> allocate(std::size_t bytes, std::string_view what) override {
    if (!ledger_->take(bytes)) return full(bytes, what);
    return std::unique_ptr<Buffer>(std::make_unique<PlanBuffer>(ledger_, bytes));
  }
  Result<std::unique_ptr<Weight>> pack(const WeightShape& shape, const RowReader&, std::string_view what) override {
    double bytes = real(shape.rows) * real(shape.cols) * bytes_of(shape.dtype);
    if (shape.dtype == DType::kInt8) bytes += real(shape.rows) * sizeof(float);
    const std::size_t all = size_of(bytes * real(shape.count));
    if (!ledger_->take(all)) return full(all, what);
    auto weight = std::make_unique<PlanWeight>(ledger_);
    weight->rows = shape.rows;
    weight->cols = shape.cols;
    weight->count = shape.count;
    weight->dtype = shape.dtype;
    weight->bytes = all;
    return std::unique_ptr<Weight>(std::move(weight));
  }
  std::size_t page_bytes(const KvShape& shape) const override {
    const double vectors = real(shape.heads) * kPageTokens, scales = shape.values_in_keys ? 1 : 2;
    const double numbers = real(shape.key_dim) + (shape.values_in_keys ? 0 : real(shape.value_dim));
    return size_of(vectors *
                   (numbers * bytes_of(shape.dtype) + (shape.dtype == DType::kFp8 ? scales * sizeof(float) : 0)));
  }
  std::unique_ptr<Stream> make_stream() override { return std::make_unique<Stretch>(); }

  void upload(Stream&, void*, const void*, std::size_t bytes) override { add("Upload", 0, real_of(bytes)); }
  void download(Stream&, void* host, const void*, std::size_t bytes) override {
    if (bytes > 0) std::memset(host, 0, bytes);
    add("Download", 0, real_of(bytes));
  }
  void clear(Stream&, void*, std::size_t bytes) override { add("Clear", 0, real_of(bytes)); }
  Result<bool> wait(Stream&) override { return true; }

  std::size_t scratch(const Attention&) const override { return 0; }
  std::size_t scratch(const Experts& op) const override {
    // Of each of a token's experts: its number, what is between its two products, and its result, in fp32 until they
    // are summed.
    const double each =
        sizeof(std::int32_t) + real(op.down->cols) * bytes_of(op.x.dtype) + real(op.down->rows) * sizeof(float);
    return size_of(real(op.x.rows * op.active) * each);
  }
  // Each choice's place among its expert's.
  std::size_t scratch(const RoutedLinear& op) const override { return size_of(real(op.y.rows) * sizeof(std::int32_t)); }
  std::size_t scratch(const RoutedLinearBack& op) const override {
    return size_of(real(op.dx.rows) * sizeof(std::int32_t));
  }
  std::size_t scratch(const RoutedGradient& op) const override {
    // And the rows of both sides in that order.
    const double row = real(op.dy.cols) * bytes_of(op.dy.dtype) + real(op.x.cols) * bytes_of(op.x.dtype);
    return size_of(real(op.experts.size) * (sizeof(std::int32_t) + row));
  }
  std::size_t scratch(const Score& op) const override {
    const std::int64_t chunks = std::max<std::int64_t>(1, (op.head->rows + kScoreTokens - 1) / kScoreTokens);
    // For the way back the logits of a part of the vocabulary stand there too.
    const std::int64_t logits = op.others ? kScoreTokens : 0;
    return size_of(real((chunks * kScoreColumns + logits) * op.x.rows) * sizeof(float));
  }
  std::size_t scratch(const Sample& op) const override {
    return size_of(real(op.logits.rows * op.logits.cols) * (sizeof(float) + sizeof(std::int32_t)));
  }
  std::size_t scratch(const NormBack&) const override { return 0; }
  // What a query's weights and their gradients come to.
  std::size_t scratch(const AttentionBack& op) const override {
    return size_of(real(op.forward.q.rows * op.forward.heads) * sizeof(float));
  }
  std::size_t scratch(const ExpertsBack& op) const override {
    // Of each of a token's experts: both sides of what is between its products, and its part of dx in fp32.
    const Experts& forward = op.forward;
    const double between = real(forward.up->rows + forward.down->cols) * bytes_of(forward.x.dtype);
    return size_of(real(forward.x.rows * forward.active) * (between + real(forward.x.cols) * sizeof(float)));
  }
  std::size_t scratch(const ScoreBack& op) const override {
    const Score& forward = op.forward;
    if (op.others) return 0;
    return size_of(real(forward.x.rows) *
                   (real(kScoreTokens) * bytes_of(forward.x.dtype) + real(forward.x.cols) * sizeof(float)));
  }
  std::size_t scratch(const Repack&) const override { return 0; }
  std::size_t scratch(const SquareSum&) const override { return 0; }

  void run(Stream&, const Embed& op) override { record("Embed", op, 0); }
  void run(Stream&, const AddNorm& op) override { record("AddNorm", op, 0); }
  void run(Stream&, const Linear& op) override { record("Linear", op, product(op.x.rows, *op.weight)); }
  void run(Stream&, const HeadLinear& op) override {
    record("HeadLinear", op, product(op.x.rows, *op.weight) * real(op.weight->count));
  }
  void run(Stream&, const Rotary& op) override { record("Rotary", op, 0); }
  void run(Stream&, const LatentRotary& op) override { record("LatentRotary", op, 0); }
  void run(Stream&, const Attention& op, std::span<std::byte>) override {
    // As if every query saw the longest sequence: the plan does not know the lengths, which are in its memory.
    const KvShape& shape = op.cache.shape;
    record("Attention", op,
           2 * real(op.q.rows * op.heads) * real(op.sequences.max_length) * real(shape.key_dim + shape.value_dim));
  }
  void run(Stream&, const Route& op) override { record("Route", op, 0); }
  void run(Stream&, const Experts& op, std::span<std::byte>) override {
    record("Experts", op, product(op.x.rows * op.active, *op.up) + product(op.x.rows * op.active, *op.down));
  }
  void run(Stream&, const RoutedLinear& op, std::span<std::byte>) override {
    record("RoutedLinear", op, product(op.y.rows, *op.weight));
  }
  void run(Stream&, const Mix& op) override { record("Mix", op, 0); }
  void run(Stream&, const Gather& op) override { record("Gather", op, 0); }
  void run(Stream&, const Score& op, std::span<std::byte>) override {
    record("Score", op, (op.others ? 2 : 1) * product(op.x.rows, *op.head));
  }
  void run(Stream&, const CombineScores& op) override { record("CombineScores", op, 0); }
  void run(Stream&, const Sample& op, std::span<std::byte>) override { record("Sample", op, 0); }

  void run(Stream&, const Activate& op) override { record("Activate", op, 0); }
  void run(Stream&, const ActivateBack& op) override { record("ActivateBack", op, 0); }
  void run(Stream&, const LinearBack& op) override { record("LinearBack", op, product(op.dy.rows, *op.weight)); }
  void run(Stream&, const HeadLinearBack& op) override {
    record("HeadLinearBack", op, real(op.weight->count) * product(op.dy.rows, *op.weight));
  }
  void run(Stream&, const WeightGradient& op) override {
    record("WeightGradient", op, 2 * real(op.x.rows) * real(op.x.cols) * real(op.dy.cols));
  }
  void run(Stream&, const RowSum& op) override { record("RowSum", op, 0); }
  void run(Stream&, const RotaryBack& op) override { record("RotaryBack", op, 0); }
  void run(Stream&, const LatentRotaryBack& op) override { record("LatentRotaryBack", op, 0); }
  void run(Stream&, const RouteBack& op) override { record("RouteBack", op, 0); }
  void run(Stream&, const RoutedLinearBack& op, std::span<std::byte>) override {
    record("RoutedLinearBack", op, product(op.dx.rows, *op.weight));
  }
  void run(Stream&, const RoutedGradient& op, std::span<std::byte>) override {
    record("RoutedGradient", op, 2 * real(op.experts.size) * real(op.x.cols) * real(op.dy.cols));
  }
  void run(Stream&, const Weigh& op) override { record("Weigh", op, 0); }
  void run(Stream&, const EmbedBack& op) override { record("EmbedBack", op, 0); }
  void run(Stream&, const Scatter& op) override { record("Scatter", op, 0); }
  void run(Stream&, const Dropout& op) override { record("Dropout", op, 0); }
  void run(Stream&, const Copy& op) override { record("Copy", op, 0); }
  void run(Stream&, const AdamW& op) override { record("AdamW", op, 0); }
  void run(Stream&, const Blend& op) override { record("Blend", op, 0); }
  void run(Stream&, const NormBack& op, std::span<std::byte>) override { record("NormBack", op, 0); }
  void run(Stream&, const AttentionBack& op, std::span<std::byte>) override {
    record("AttentionBack", op, work_of(op));
  }
  void run(Stream&, const ExpertsBack& op, std::span<std::byte>) override { record("ExpertsBack", op, work_of(op)); }
  void run(Stream&, const ScoreBack& op, std::span<std::byte>) override {
    record("ScoreBack", op, op.others ? 0 : 2 * product(op.forward.x.rows, *op.forward.head));
  }
  void run(Stream&, const Repack& op, std::span<std::byte>) override { record("Repack", op, 0); }
  void run(Stream&, const SquareSum& op, std::span<std::byte>) override { record("SquareSum", op, 0); }

 private:
  static double real_of(std::size_t bytes) { return static_cast<double>(bytes); }
  static double product(std::int64_t rows, const Weight& weight) {
    return 2 * real(rows) * real(weight.rows) * real(weight.cols);
  }
  // As the products of the forward pass, twice: towards what went in, and towards what it was multiplied by.
  static double work_of(const ExpertsBack& op) {
    const std::int64_t choices = op.forward.x.rows * op.forward.active;
    return 2 * (product(choices, *op.forward.up) + product(choices, *op.forward.down));
  }
  static double work_of(const AttentionBack& op) {
    const Attention& forward = op.forward;
    return 4 * real(forward.q.rows * forward.heads) * real(forward.sequences.max_length) *
           real(forward.cache.shape.key_dim + forward.cache.shape.value_dim);
  }
  static Error full(std::size_t bytes, std::string_view what) {
    return Error{"out of memory: no " + format_bytes(real_of(bytes)) + " for " + std::string(what)};
  }

  void add(std::string_view name, double flops, double bytes) {
    PlannedOps& ops = ops_.try_emplace(std::string(name)).first->second;
    ++ops.count;
    ops.flops += flops;
    ops.bytes += bytes;
  }
  template <class Op>
  void record(std::string_view name, Op op, double flops) {
    double bytes = 0;
    const Operands operands = operands_of(*this, op);
    for (const Operand& operand : operands.memory) bytes += real_of(operand.bytes());
    for (const Weight** weight : operands.weights) bytes += real_of((*weight)->bytes);
    add(name, flops, bytes);
  }

  std::shared_ptr<Ledger> ledger_;
  std::map<std::string, PlannedOps, std::less<>> ops_;
};

}  // namespace

std::unique_ptr<PlanBackend> make_plan_backend(std::size_t memory) { return std::make_unique<Plan>(memory); }

}  // namespace orch::kernels
