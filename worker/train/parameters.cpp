#include "train/parameters.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/split_mix.h"
#include "base/text.h"

namespace orch::train {

using kernels::Matrix;
using kernels::Stream;
using model::LowRank;
using model::Module;
using model::Place;

namespace {

constexpr std::int64_t kMostRank = 65536;

/// How the tensor ranks share a linear layer.
enum class Cut { kResults, kInputs, kExperts, kNot };
Cut cut_of(Place place) {
  switch (place) {
    case Place::kQkv:
    case Place::kQueryUp:
    case Place::kKeyValueUp:
    case Place::kUp:
    case Place::kSharedUp:
      return Cut::kResults;
    case Place::kOut:
    case Place::kDown:
    case Place::kSharedDown:
      return Cut::kInputs;
    case Place::kExpertsUp:
    case Place::kExpertsDown:
      return Cut::kExperts;
    default:
      return Cut::kNot;
  }
}

class Zeros : public kernels::RowReader {
 public:
  explicit Zeros(std::int64_t cols) : cols_(cols) {}
  void read(std::int64_t, std::int64_t, std::int64_t rows, float* out, float*) const override {
    std::fill_n(out, rows * cols_, 0.0F);
  }
  const std::byte* stored(std::int64_t, std::int64_t, DType) const override { return nullptr; }

 private:
  const std::int64_t cols_;
};

/// In [-1, 1), of a module's number.
float spread(std::uint64_t module, std::int64_t number) {
  return static_cast<float>(SplitMix64(module, static_cast<std::uint64_t>(number)).next() >> 40) * 0x1p-23F - 1;
}

/// What a target says.
struct Target {
  std::string name;
  std::int64_t rank = 0;  ///< 0: the adapter's

  bool meets(const Module& module) const {
    if (is_glob(name)) return glob_match(name, module.path);
    if (module.path == name) return true;
    if (module.all_experts == 0) return module.path.ends_with("." + name);
    // So that "down_proj" is the linear layers of that name, as it is where there are no experts.
    const std::string own = "experts" + module.path.substr(module.path.rfind('.'));
    return name == "experts" || name == module.names.path || (name.ends_with(own) && module.path.ends_with("." + name));
  }
};

Result<Target> read_target(const std::string& text, std::int64_t rank) {
  const std::size_t colon = text.find(':');
  Target target{text.substr(0, colon), rank};
  if (colon != std::string::npos) {
    const char *from = text.data() + colon + 1, *to = text.data() + text.size();
    const auto [end, error] = std::from_chars(from, to, target.rank);
    if (error != std::errc() || end != to || target.rank < 1 || target.rank > kMostRank)
      return Error{"of " + quote(text) + " the rank must be a whole number from 1 to " + std::to_string(kMostRank)};
  }
  if (target.name.empty()) return Error{"a target has no name"};
  return target;
}

struct Chosen {
  Module module;
  std::int64_t rank = 0;
};

Result<std::vector<Chosen>> chosen_modules(const model::Sources& sources, const AdapterRules& rules) {
  std::vector<Target> targets;
  for (const std::string& text : rules.targets) {
    auto target = read_target(text, rules.rank);
    if (!target) return target.error();
    targets.push_back(*std::move(target));
  }
  std::vector<Chosen> chosen;
  std::vector<bool> is_met(targets.size());
  for (Module& module : model::modules_of(sources)) {
    std::int64_t rank = targets.empty() && module.all_experts == 0 ? rules.rank : 0;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      if (!targets[i].meets(module)) continue;
      rank = targets[i].rank;
      is_met[i] = true;
    }
    if (rank > 0) chosen.push_back({std::move(module), rank});
  }
  for (std::size_t i = 0; i < is_met.size(); ++i)
    if (!is_met[i]) return Error{"the model has no linear layer " + quote(targets[i].name)};
  return chosen;
}

}  // namespace

Result<std::unique_ptr<Parameters>> Parameters::of_adapter(kernels::Backend& backend, const model::Decoder& decoder,
                                                           const model::Sources& sources, const AdapterRules& rules,
                                                           bool average) {
  if (rules.rank < 1) return Error{"an adapter's rank must be at least 1, not " + std::to_string(rules.rank)};
  if (!std::isfinite(rules.alpha)) return Error{"an adapter's alpha must be a number"};
  auto modules = chosen_modules(sources, rules);
  if (!modules) return modules.error();
  const model::Shard& shard = decoder.shard();
  const model::AttentionKind& attention = decoder.architecture().attention;
  if (!attention.latent && attention.kv_heads < shard.ranks)
    return Error{"an adapter cannot be trained over " + std::to_string(shard.ranks) + " ranks: the model has " +
                 std::to_string(attention.kv_heads) + " heads of keys and values"};
  std::unique_ptr<Parameters> it(new Parameters(backend, decoder));
  it->adapter_.layers.resize(sources.layers.size());
  it->gradients_.layers.resize(sources.layers.size());
  for (Chosen& chosen : *modules) {
    Module& module = chosen.module;
    const std::int64_t rank = chosen.rank;
    const std::string name = "base_model.model." + module.path;
    const Cut cut = cut_of(module.place);
    const bool is_cut = shard.ranks > 1, is_stack = module.all_experts > 0;
    const model::Part rows =
        is_stack ? model::Part{module.experts.first * rank, module.experts.count * rank} : model::Part{0, rank};
    const auto add = [&](const char* ending, std::int64_t cols, bool summed, std::int64_t all_cols,
                         std::vector<model::Part> parts) {
      Piece& piece = it->pieces_.emplace_back();
      piece.name = name + ending;
      piece.rows = rows.count;
      piece.all_rows = is_stack ? module.all_experts * rank : rank;
      piece.cols = cols;
      piece.is_summed = is_cut && !is_stack && summed;
      piece.all_cols = all_cols;
      piece.row_parts = {rows};
      piece.col_parts = std::move(parts);
    };
    add(".lora_A.weight", module.inputs.count, cut != Cut::kInputs, module.all_inputs, {module.inputs});
    add(".lora_B.weight", module.own_outputs(), cut != Cut::kResults, module.all_outputs, module.outputs);
    it->adapter_.rank = std::max(it->adapter_.rank, rank);
    if (is_stack) it->adapter_.expert_rank = std::max(it->adapter_.expert_rank, rank);
    it->ranks_.push_back(rank);
    it->modules_.push_back(std::move(module));
  }
  it->lay_out();
  if (auto has = it->allocate(average); !has) return has.error();

  for (std::size_t i = 0; i < it->modules_.size(); ++i) {
    const Module& module = it->modules_[i];
    if (module.all_experts > 0 && module.experts.count == 0) continue;  // more ranks than experts
    const auto rank = static_cast<double>(it->ranks_[i]);
    const auto scale = static_cast<float>(rules.alpha / (rules.rank_stabilised ? std::sqrt(rank) : rank));
    LowRank low;
    low.from = module.from;
    low.scale = scale;
    low.first_input = module.inputs.first;
    low.mask = module.hash();
    low.first_expert = module.experts.first;
    for (const model::LowRankWeight& weight : model::low_rank_weights(module, it->ranks_[i])) {
      const kernels::WeightShape shape = weight.shape(decoder.dtype());
      auto packed = backend.pack(shape, Zeros(shape.cols), "the adapter");
      if (!packed) return packed.error();
      low.*weight.member = packed->get();
      for (std::size_t index = 0; index < weight.stack.size(); ++index) {
        const model::LowRankWeight::Piece& part = weight.stack[index];
        const Piece& piece = it->pieces_[2 * i + (part.of_b ? 1 : 0)];
        it->packed_.push_back({piece.at + part.row * piece.cols + part.col, part.rows, part.cols, piece.cols,
                               part.is_turned, packed->get(), static_cast<std::int64_t>(index)});
      }
      it->weights_.push_back(*std::move(packed));
    }
    it->adapter_.layers[module.layer][module.place].push_back(low);
    it->gradients_.layers[module.layer].adapter[module.place].push_back(
        {it->view(it->gradient_, it->pieces_[2 * i]), it->view(it->gradient_, it->pieces_[2 * i + 1])});
  }
  if (auto has = it->allocate_scratch(); !has) return has.error();

  const auto stream = backend.make_stream();
  std::vector<float> values(static_cast<std::size_t>(it->count_));
  it->begin(values, rules.seed);
  for (const Row row : {Row::kFirst, Row::kSecond}) {
    const Matrix zeros = it->matrix_of(row);
    backend.clear(*stream, zeros.data, static_cast<std::size_t>(zeros.cols) * sizeof(float));
  }
  it->clear_gradients(*stream);
  if (auto written = it->write(*stream, Row::kValues, values); !written) return written.error();
  if (average)
    if (auto written = it->write(*stream, Row::kAverage, values); !written) return written.error();
  return it;
}

// The order is such that what is summed, what ranks share and what decays are each one part of the row.
void Parameters::lay_out() {
  const auto place = [&](bool decays, bool shared, bool summed) {
    const std::int64_t from = count_;
    for (Piece& piece : pieces_) {
      if (piece.decays != decays || (piece.is_alike || piece.is_summed) != shared || piece.is_summed != summed)
        continue;
      piece.at = count_;
      count_ += piece.rows * piece.cols;
    }
    return model::Part{from, count_ - from};
  };
  place(false, false, false);
  const std::int64_t alike = place(false, true, false).first;
  summed_ = place(false, true, true);
  const model::Part decayed = place(true, true, true);
  summed_.count += decayed.count;
  place(true, true, false);
  shared_ = {alike, count_ - alike};
  place(true, false, false);
  decayed_ = {decayed.first, count_ - decayed.first};
}

Result<bool> Parameters::allocate(bool average) {
  const std::int64_t padded = (count_ + 63) / 64 * 64, rows = average ? 5 : 4;
  auto memory = backend_.allocate(static_cast<std::size_t>(padded * rows + 64) * sizeof(float), "what is trained");
  if (!memory) return memory.error();
  memory_ = *std::move(memory);
  auto* at = static_cast<float*>(memory_->data);
  for (Matrix* row : {&values_, &gradient_, &first_, &second_, average ? &average_ : nullptr}) {
    if (!row) continue;
    *row = {at, DType::kFp32, 1, count_, count_};
    at += padded;
  }
  squares_ = {at, DType::kFp32, 3, 2, 2};
  return true;
}

Result<bool> Parameters::allocate_scratch() {
  std::size_t most = backend_.scratch(kernels::SquareSum{values_, kernels::rows(squares_, 0, 1)});
  for (const Packed& packed : packed_) most = std::max(most, backend_.scratch(repack_of(packed, values_)));
  auto scratch = backend_.allocate(most, "the optimiser");
  if (!scratch) return scratch.error();
  scratch_ = *std::move(scratch);
  return true;
}

Matrix Parameters::view(const Matrix& row, std::int64_t at, std::int64_t rows, std::int64_t cols) {
  return {static_cast<float*>(row.data) + at, DType::kFp32, rows, cols, cols};
}

Matrix Parameters::matrix_of(Row row) const {
  switch (row) {
    case Row::kValues:
      return values_;
    case Row::kFirst:
      return first_;
    case Row::kSecond:
      return second_;
    case Row::kAverage:
      return average_;
  }
  return {};
}

// As PEFT begins: A as Kaiming has it (uniform up to 1 / √inputs), B with 0.
void Parameters::begin(std::vector<float>& values, std::uint64_t seed) const {
  for (std::size_t i = 0; i < modules_.size(); ++i) {
    const Module& module = modules_[i];
    const Piece& a = pieces_[2 * i];
    const std::uint64_t own = SplitMix64(seed, module.hash()).next();
    const float bound = 1.0F / std::sqrt(static_cast<float>(module.all_inputs));
    for (std::int64_t row = 0; row < a.rows; ++row)
      for (std::int64_t col = 0; col < a.cols; ++col)
        values[static_cast<std::size_t>(a.at + row * a.cols + col)] =
            bound * spread(own, (a.row_parts.front().first + row) * module.all_inputs + module.inputs.first + col);
  }
}

kernels::Repack Parameters::repack_of(const Packed& packed, const Matrix& row) const {
  Matrix from = view(row, packed.at, packed.rows, packed.cols);
  from.stride = packed.stride;
  return {from, packed.transposed, packed.weight, packed.index};
}

void Parameters::pack(Stream& stream, bool of_average) {
  const std::span<std::byte> scratch(static_cast<std::byte*>(scratch_->data), scratch_->bytes);
  const Matrix& row = of_average ? average_ : values_;
  for (const Packed& packed : packed_) backend_.run(stream, repack_of(packed, row), scratch);
  for (const Copied& copied : copied_)
    backend_.run(stream, kernels::Copy{view(row, copied.at, 1, copied.to.cols), 1, copied.to});
}

void Parameters::clear_gradients(Stream& stream) {
  backend_.clear(stream, gradient_.data, static_cast<std::size_t>(count_) * sizeof(float));
}

void Parameters::sum_gradients(Stream& stream, comm::Communicator* data) {
  if (summed_.count > 0)
    decoder_.tensor()->sum(stream, kernels::columns(gradient_, summed_.first, summed_.count), DType::kFp32);
  if (data && data->ranks() > 1) data->sum(stream, gradient_, DType::kFp32);
}

Result<double> Parameters::gradient_norm(Stream& stream) {
  const std::span<std::byte> scratch(static_cast<std::byte*>(scratch_->data), scratch_->bytes);
  const std::int64_t behind = shared_.first + shared_.count;
  const model::Part cut[] = {shared_, {0, shared_.first}, {behind, count_ - behind}};
  float parts[2 * std::size(cut)] = {};
  backend_.clear(stream, squares_.data, sizeof parts);
  for (std::size_t i = 0; i < std::size(cut); ++i)
    if (cut[i].count > 0)
      backend_.run(stream,
                   kernels::SquareSum{kernels::columns(gradient_, cut[i].first, cut[i].count),
                                      kernels::rows(squares_, static_cast<std::int64_t>(i), 1)},
                   scratch);
  if (decoder_.shard().ranks > 1) decoder_.tensor()->sum(stream, kernels::rows(squares_, 1, 2), DType::kFp32);
  backend_.download(stream, parts, squares_.data, sizeof parts);
  if (auto waited = backend_.wait(stream); !waited) return waited.error();
  if (auto joined = decoder_.joined(); !joined) return joined.error();
  double sum = 0;
  for (const float part : parts) sum += static_cast<double>(part);
  return std::isfinite(sum) ? std::sqrt(sum) : std::nan("");
}

void Parameters::update(Stream& stream, const AdamRules& rules, std::int64_t step, double gradient_scale) {
  kernels::AdamW op;
  op.gradient_scale = static_cast<float>(gradient_scale);
  op.rate = static_cast<float>(rules.rate);
  op.beta1 = static_cast<float>(rules.beta1);
  op.beta2 = static_cast<float>(rules.beta2);
  op.epsilon = static_cast<float>(rules.epsilon);
  op.correction1 = static_cast<float>(1 - std::pow(rules.beta1, static_cast<double>(step)));
  op.correction2 = static_cast<float>(1 - std::pow(rules.beta2, static_cast<double>(step)));
  const model::Part others{0, decayed_.first};
  for (const auto& [part, decay] : {std::pair(others, 0.0), std::pair(decayed_, rules.decay)}) {
    if (part.count == 0) continue;
    op.parameter = kernels::columns(values_, part.first, part.count);
    op.gradient = kernels::columns(gradient_, part.first, part.count);
    op.first = kernels::columns(first_, part.first, part.count);
    op.second = kernels::columns(second_, part.first, part.count);
    op.decay = static_cast<float>(decay);
    backend_.run(stream, op);
  }
  pack(stream);
}

void Parameters::update_average(Stream& stream, double decay) {
  backend_.run(stream, kernels::Blend{average_, values_, static_cast<float>(1 - decay)});
}

Result<std::vector<float>> Parameters::read(Stream& stream, Row row) {
  std::vector<float> numbers(static_cast<std::size_t>(count_));
  backend_.download(stream, numbers.data(), matrix_of(row).data, numbers.size() * sizeof(float));
  if (auto waited = backend_.wait(stream); !waited) return waited.error();
  return numbers;
}

Result<bool> Parameters::write(Stream& stream, Row row, const std::vector<float>& numbers) {
  if (static_cast<std::int64_t>(numbers.size()) != count_)
    return Error{"a state of " + std::to_string(numbers.size()) +
                 " numbers is not that of what is trained, which has " + std::to_string(count_)};
  backend_.upload(stream, matrix_of(row).data, numbers.data(), numbers.size() * sizeof(float));
  if (row == Row::kValues) pack(stream);
  return backend_.wait(stream);
}

}  // namespace orch::train
