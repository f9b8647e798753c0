#include "kernels/fake/backend.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "base/units.h"
#include "kernels/fake/memory.h"
#include "kernels/operands.h"

namespace orch::kernels {
namespace {

using fake::Memory;

/// A fault of the program, not of its input: nothing that comes after it would mean anything.
[[noreturn]] void fault(const std::string& what) {
  std::fprintf(stderr, "fake device: %s\n", what.c_str());
  std::abort();
}

bool touch(const Operand& a, const Operand& b) { return a.data < b.data + b.extent() && b.data < a.data + a.extent(); }

/// Bytes on their way to the device.
struct Upload {
  const std::byte* from = nullptr;
  std::vector<std::byte> bytes;  ///< as they were when this was enqueued
  /// A download that comes after it in its stream may go to the same place. From then on that is the download's.
  bool is_over = false;

  void check() const {
    if (!is_over && !std::equal(bytes.begin(), bytes.end(), from))
      fault("the bytes of an upload changed before it had run");
  }
};

/// What was enqueued and has not run.
struct Task {
  std::string_view name;
  std::vector<Operand> memory;
  std::span<std::byte> scratch;
  std::vector<const Weight*> weights;
  std::function<void()> run;
  std::shared_ptr<Upload> upload = nullptr;
  std::vector<const Weight*> changed{};  ///< among the weights

  /// Whether one changes a weight that the other uses.
  bool clashes(const Task& other) const {
    const auto uses_any = [](const std::vector<const Weight*>& used, const std::vector<const Weight*>& changed_ones) {
      return std::find_first_of(used.begin(), used.end(), changed_ones.begin(), changed_ones.end()) != used.end();
    };
    return uses_any(weights, other.changed) || uses_any(other.weights, changed);
  }

  /// Scratch included.
  std::vector<Operand> touched() const {
    std::vector<Operand> all = memory;
    if (!scratch.empty()) all.push_back({Use::kWritten, scratch.data(), scratch.size(), 1, 0});
    return all;
  }
};

class FakeStream;

/// What the device, its streams, buffers and weights share: these may outlive it.
struct Shared {
  std::mutex mutex;
  Memory memory;
  std::vector<FakeStream*> streams;

  void free(const Memory::Piece& piece);
  void free(const Weight& weight) const;
};

class FakeStream : public Stream {
 public:
  FakeStream(std::shared_ptr<Shared> shared, std::unique_ptr<Stream> stream)
      : beneath(std::move(stream)), shared_(std::move(shared)) {
    const std::lock_guard lock(shared_->mutex);
    shared_->streams.push_back(this);
  }
  ~FakeStream() override {
    const std::lock_guard lock(shared_->mutex);
    if (!tasks.empty()) fault("a stream was given up while " + std::string(tasks.front().name) + " had not run");
    std::erase(shared_->streams, this);
  }

  std::unique_ptr<Stream> beneath;
  std::deque<Task> tasks;

 private:
  std::shared_ptr<Shared> shared_;
};

void Shared::free(const Memory::Piece& piece) {
  const Operand all{Use::kChanged, piece.data, piece.bytes, 1, 0};
  for (const FakeStream* stream : streams)
    for (const Task& task : stream->tasks)
      for (const Operand& operand : task.touched())
        if (touch(operand, all)) fault(piece.what + " was freed while " + std::string(task.name) + " had not run");
  memory.give_back(piece);
}

void Shared::free(const Weight& weight) const {
  for (const FakeStream* stream : streams)
    for (const Task& task : stream->tasks)
      if (std::find(task.weights.begin(), task.weights.end(), &weight) != task.weights.end())
        fault("weights were freed while " + std::string(task.name) + " had not run");
}

class FakeBuffer : public Buffer {
 public:
  /// `account`: memory of the backend beneath, so that its limit is the device's; nobody touches it.
  FakeBuffer(std::shared_ptr<Shared> shared, const Memory::Piece& piece, std::unique_ptr<Buffer> account)
      : shared_(std::move(shared)), piece_(piece), account_(std::move(account)) {
    data = piece.data;
    bytes = piece.bytes;
  }
  ~FakeBuffer() override {
    const std::lock_guard lock(shared_->mutex);
    shared_->free(piece_);
  }

 private:
  std::shared_ptr<Shared> shared_;
  const Memory::Piece& piece_;
  std::unique_ptr<Buffer> account_;
};

class FakeWeight : public Weight {
 public:
  FakeWeight(std::shared_ptr<Shared> shared, std::unique_ptr<Weight> weight)
      : Weight(*weight), beneath_(std::move(weight)), shared_(std::move(shared)) {}
  ~FakeWeight() override {
    const std::lock_guard lock(shared_->mutex);
    shared_->free(*this);
  }
  const Weight* beneath() const { return beneath_.get(); }
  Weight* beneath() { return beneath_.get(); }

 private:
  std::unique_ptr<Weight> beneath_;
  std::shared_ptr<Shared> shared_;
};

/// An op as it was when it was enqueued, with what it points to, and its weights those of the backend beneath.
template <class Op>
struct Kept {
  Op op;
  std::vector<std::unique_ptr<Norm>> norms;
  Operands operands;
  std::vector<const Weight*> weights;  ///< of the device
  std::vector<const Weight*> changed;

  Kept(const Op& given, const Backend& backend) : op(given), operands(operands_of(backend, op)) {
    for (const Norm** norm : operands.norms) {
      norms.push_back(std::make_unique<Norm>(**norm));
      *norm = norms.back().get();
    }
    for (const Weight** weight : operands.weights) {
      weights.push_back(*weight);
      *weight = static_cast<const FakeWeight&>(**weight).beneath();
    }
    for (Weight** weight : operands.changed_weights) {
      weights.push_back(*weight);
      changed.push_back(*weight);
      *weight = static_cast<FakeWeight&>(**weight).beneath();
    }
  }
  Kept(const Kept&) = delete;
  Kept& operator=(const Kept&) = delete;
};

class FakeBackend : public Backend {
 public:
  FakeBackend(std::unique_ptr<Backend> beneath, const FakeOptions& options)
      : beneath_(std::move(beneath)), shared_(std::make_shared<Shared>()), seed_(options.seed), random_(options.seed) {}

  std::string_view name() const override { return "fake"; }

  Result<std::unique_ptr<Buffer>> allocate(std::size_t bytes, std::string_view what) override {
    auto account = beneath_->allocate(bytes, what);
    if (!account) return account.error();
    const std::lock_guard lock(shared_->mutex);
    const Memory::Piece* piece = shared_->memory.take(bytes, std::string(what));
    if (!piece)
      return Error{"out of memory: no addresses for " + format_bytes(static_cast<double>(bytes)) + " for " +
                   std::string(what)};
    return std::unique_ptr<Buffer>(std::make_unique<FakeBuffer>(shared_, *piece, *std::move(account)));
  }

  Result<std::unique_ptr<Weight>> pack(const WeightShape& shape, const RowReader& read,
                                       std::string_view what) override {
    auto packed = beneath_->pack(shape, read, what);
    if (!packed) return packed.error();
    return std::unique_ptr<Weight>(std::make_unique<FakeWeight>(shared_, *std::move(packed)));
  }

  std::size_t page_bytes(const KvShape& shape) const override { return beneath_->page_bytes(shape); }
  std::unique_ptr<Stream> make_stream() override {
    return std::make_unique<FakeStream>(shared_, beneath_->make_stream());
  }

  void upload(Stream& stream, void* to, const void* host, std::size_t bytes) override {
    if (bytes == 0) return;
    const auto* const from = static_cast<const std::byte*>(host);
    Task task{"an upload", {{Use::kWritten, static_cast<std::byte*>(to), bytes, 1, 0}}, {}, {}, {}};
    task.upload = std::make_shared<Upload>(Upload{from, {from, from + bytes}});
    task.run = [to, upload = task.upload] {
      upload->check();
      std::memcpy(to, upload->bytes.data(), upload->bytes.size());
    };
    enqueue(stream, std::move(task));
  }
  void download(Stream& stream, void* host, const void* from, std::size_t bytes) override {
    if (bytes == 0) return;
    auto* const to = static_cast<std::byte*>(host);
    for (const Task& pending : static_cast<FakeStream&>(stream).tasks) {
      if (!pending.upload || pending.upload->from >= to + bytes) continue;
      if (to >= pending.upload->from + pending.upload->bytes.size()) continue;
      pending.upload->check();
      pending.upload->is_over = true;
    }
    fake::poison({to, bytes});
    // Only read: Operand has one kind of pointer for all uses.
    auto* const there = static_cast<std::byte*>(const_cast<void*>(from));
    Task task{"a download", {{Use::kRead, there, bytes, 1, 0}}, {}, {}, {}};
    task.run = [to, there, bytes] { std::memcpy(to, there, bytes); };
    enqueue(stream, std::move(task));
  }
  void clear(Stream& stream, void* what, std::size_t bytes) override {
    if (bytes == 0) return;
    Task task{"a clear", {{Use::kWritten, static_cast<std::byte*>(what), bytes, 1, 0}}, {}, {}, {}};
    task.run = [what, bytes] { std::memset(what, 0, bytes); };
    enqueue(stream, std::move(task));
  }
  Result<bool> wait(Stream& stream) override {
    auto& own = static_cast<FakeStream&>(stream);
    const std::lock_guard lock(shared_->mutex);
    while (!own.tasks.empty()) run_next(own);
    return beneath_->wait(*own.beneath);
  }

  std::size_t scratch(const Attention& op) const override { return beneath_->scratch(op); }
  std::size_t scratch(const Experts& op) const override { return scratch_of(op); }
  std::size_t scratch(const RoutedLinear& op) const override { return scratch_of(op); }
  std::size_t scratch(const Score& op) const override { return scratch_of(op); }
  std::size_t scratch(const Sample& op) const override { return beneath_->scratch(op); }
  std::size_t scratch(const NormBack& op) const override { return beneath_->scratch(op); }
  std::size_t scratch(const AttentionBack& op) const override { return beneath_->scratch(op); }
  std::size_t scratch(const ExpertsBack& op) const override { return scratch_of(op); }
  std::size_t scratch(const RoutedLinearBack& op) const override { return scratch_of(op); }
  std::size_t scratch(const RoutedGradient& op) const override { return beneath_->scratch(op); }
  std::size_t scratch(const ScoreBack& op) const override { return scratch_of(op); }
  std::size_t scratch(const Repack& op) const override { return scratch_of(op); }
  std::size_t scratch(const SquareSum& op) const override { return beneath_->scratch(op); }

  void run(Stream& stream, const Embed& op) override { plain(stream, "Embed", op); }
  void run(Stream& stream, const AddNorm& op) override { plain(stream, "AddNorm", op); }
  void run(Stream& stream, const Linear& op) override { plain(stream, "Linear", op); }
  void run(Stream& stream, const HeadLinear& op) override { plain(stream, "HeadLinear", op); }
  void run(Stream& stream, const Rotary& op) override { plain(stream, "Rotary", op); }
  void run(Stream& stream, const LatentRotary& op) override { plain(stream, "LatentRotary", op); }
  void run(Stream& stream, const Attention& op, std::span<std::byte> scratch) override {
    scratched(stream, "Attention", op, scratch);
  }
  void run(Stream& stream, const Route& op) override { plain(stream, "Route", op); }
  void run(Stream& stream, const Experts& op, std::span<std::byte> scratch) override {
    scratched(stream, "Experts", op, scratch);
  }
  void run(Stream& stream, const RoutedLinear& op, std::span<std::byte> scratch) override {
    scratched(stream, "RoutedLinear", op, scratch);
  }
  void run(Stream& stream, const Mix& op) override { plain(stream, "Mix", op); }
  void run(Stream& stream, const Gather& op) override { plain(stream, "Gather", op); }
  void run(Stream& stream, const Score& op, std::span<std::byte> scratch) override {
    scratched(stream, "Score", op, scratch);
  }
  void run(Stream& stream, const CombineScores& op) override { plain(stream, "CombineScores", op); }
  void run(Stream& stream, const Sample& op, std::span<std::byte> scratch) override {
    scratched(stream, "Sample", op, scratch);
  }

  void run(Stream& stream, const Activate& op) override { plain(stream, "Activate", op); }
  void run(Stream& stream, const ActivateBack& op) override { plain(stream, "ActivateBack", op); }
  void run(Stream& stream, const LinearBack& op) override { plain(stream, "LinearBack", op); }
  void run(Stream& stream, const HeadLinearBack& op) override { plain(stream, "HeadLinearBack", op); }
  void run(Stream& stream, const WeightGradient& op) override { plain(stream, "WeightGradient", op); }
  void run(Stream& stream, const RowSum& op) override { plain(stream, "RowSum", op); }
  void run(Stream& stream, const RotaryBack& op) override { plain(stream, "RotaryBack", op); }
  void run(Stream& stream, const LatentRotaryBack& op) override { plain(stream, "LatentRotaryBack", op); }
  void run(Stream& stream, const RouteBack& op) override { plain(stream, "RouteBack", op); }
  void run(Stream& stream, const RoutedLinearBack& op, std::span<std::byte> scratch) override {
    scratched(stream, "RoutedLinearBack", op, scratch);
  }
  void run(Stream& stream, const RoutedGradient& op, std::span<std::byte> scratch) override {
    scratched(stream, "RoutedGradient", op, scratch);
  }
  void run(Stream& stream, const Weigh& op) override { plain(stream, "Weigh", op); }
  void run(Stream& stream, const EmbedBack& op) override { plain(stream, "EmbedBack", op); }
  void run(Stream& stream, const Scatter& op) override { plain(stream, "Scatter", op); }
  void run(Stream& stream, const Dropout& op) override { plain(stream, "Dropout", op); }
  void run(Stream& stream, const Copy& op) override { plain(stream, "Copy", op); }
  void run(Stream& stream, const AdamW& op) override { plain(stream, "AdamW", op); }
  void run(Stream& stream, const Blend& op) override { plain(stream, "Blend", op); }
  void run(Stream& stream, const NormBack& op, std::span<std::byte> scratch) override {
    scratched(stream, "NormBack", op, scratch);
  }
  void run(Stream& stream, const AttentionBack& op, std::span<std::byte> scratch) override {
    scratched(stream, "AttentionBack", op, scratch);
  }
  void run(Stream& stream, const ExpertsBack& op, std::span<std::byte> scratch) override {
    scratched(stream, "ExpertsBack", op, scratch);
  }
  void run(Stream& stream, const ScoreBack& op, std::span<std::byte> scratch) override {
    scratched(stream, "ScoreBack", op, scratch);
  }
  void run(Stream& stream, const Repack& op, std::span<std::byte> scratch) override {
    scratched(stream, "Repack", op, scratch);
  }
  void run(Stream& stream, const SquareSum& op, std::span<std::byte> scratch) override {
    scratched(stream, "SquareSum", op, scratch);
  }

 private:
  template <class Op>
  std::size_t scratch_of(const Op& op) const {
    return beneath_->scratch(Kept<Op>(op, *beneath_).op);
  }

  template <class Op>
  static Task task_of(std::string_view name, const std::shared_ptr<Kept<Op>>& kept) {
    Task task{name, kept->operands.memory, {}, kept->weights, {}};
    task.changed = kept->changed;
    return task;
  }
  template <class Op>
  void plain(Stream& stream, std::string_view name, const Op& op) {
    const auto kept = std::make_shared<Kept<Op>>(op, *beneath_);
    Task task = task_of(name, kept);
    task.run = [this, &stream, kept] { beneath_->run(*static_cast<FakeStream&>(stream).beneath, kept->op); };
    enqueue(stream, std::move(task));
  }
  template <class Op>
  void scratched(Stream& stream, std::string_view name, const Op& op, std::span<std::byte> scratch) {
    const auto kept = std::make_shared<Kept<Op>>(op, *beneath_);
    const std::size_t wanted = beneath_->scratch(kept->op);
    if (scratch.size() < wanted)
      fault(std::string(name) + " wants " + std::to_string(wanted) + " bytes of scratch and got " +
            std::to_string(scratch.size()));
    Task task = task_of(name, kept);
    // No more than it asked for.
    task.scratch = scratch.first(wanted);
    task.run = [this, &stream, kept, scratch = task.scratch] {
      beneath_->run(*static_cast<FakeStream&>(stream).beneath, kept->op, scratch);
    };
    enqueue(stream, std::move(task));
  }

  void enqueue(Stream& stream, Task task) {
    auto& own = static_cast<FakeStream&>(stream);
    const std::lock_guard lock(shared_->mutex);
    for (const FakeStream* other : shared_->streams)
      if (other != &own)
        for (const Task& pending : other->tasks)
          if (task.clashes(pending))
            fault(std::string(task.name) + " uses a weight that " + std::string(pending.name) +
                  " uses in another stream, and one of them changes it");
    for (const Operand& operand : task.touched()) {
      if (!shared_->memory.find(operand.data, operand.extent()))
        fault(std::string(task.name) + " was given " + std::to_string(operand.extent()) +
              " bytes that are not in one buffer of this device");
      for (const FakeStream* other : shared_->streams) {
        if (other == &own) continue;
        for (const Task& pending : other->tasks)
          for (const Operand& theirs : pending.touched())
            if ((operand.use != Use::kRead || theirs.use != Use::kRead) && touch(operand, theirs))
              fault(std::string(task.name) + " uses what " + std::string(pending.name) +
                    " uses in another stream, and one of them writes it");
      }
    }
    own.tasks.push_back(std::move(task));
    if (seed_ == 0) return;
    for (std::uint64_t some = random_() % 4; some > 0 && !own.tasks.empty(); --some) run_next(own);
  }

  void run_next(FakeStream& stream) {
    Task& task = stream.tasks.front();
    const std::vector<Operand> all = task.touched();
    std::vector<std::pair<const Memory::Piece*, Memory::Access>> pieces;
    for (const Operand& operand : all) {
      const auto access = operand.use == Use::kRead ? Memory::Access::kRead : Memory::Access::kWrite;
      const Memory::Piece* piece = shared_->memory.find(operand.data, operand.extent());
      const auto known =
          std::find_if(pieces.begin(), pieces.end(), [&](const auto& each) { return each.first == piece; });
      if (known == pieces.end())
        pieces.emplace_back(piece, access);
      else
        known->second = std::max(known->second, access);
    }
    for (const auto& [piece, access] : pieces) shared_->memory.open(*piece, access);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].use != Use::kWritten) continue;
      // In place: what it reads must stay.
      bool alone = true;
      for (std::size_t j = 0; j < all.size(); ++j)
        if (j != i && all[j].use != Use::kWritten) alone = alone && !touch(all[i], all[j]);
      for (std::size_t row = 0; alone && row < all[i].rows; ++row)
        fake::poison({all[i].data + row * all[i].stride, all[i].row});
    }
    shared_->memory.user = task.name;
    task.run();
    shared_->memory.user = {};
    for (const auto& [piece, access] : pieces) {
      if (access == Memory::Access::kWrite &&
          !fake::is_poison({piece->data + piece->bytes, piece->data + piece->whole}))
        fault(std::string(task.name) + " wrote behind " + piece->what);
      shared_->memory.open(*piece, Memory::Access::kNone);
    }
    stream.tasks.pop_front();
  }

  std::unique_ptr<Backend> beneath_;
  std::shared_ptr<Shared> shared_;
  const std::uint64_t seed_;
  std::mt19937_64 random_;
};

}  // namespace

std::unique_ptr<Backend> make_fake_backend(std::unique_ptr<Backend> arithmetic, const FakeOptions& options) {
  return std::make_unique<FakeBackend>(std::move(arithmetic), options);
}

}  // namespace orch::kernels
