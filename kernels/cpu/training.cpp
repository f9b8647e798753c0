#include "kernels/cpu/training.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/choices.h"

namespace orch::kernels::cpu {
namespace {

constexpr std::int64_t kColumns = 16;

std::int64_t parts_of(std::int64_t count, std::int64_t each) { return padded(count, each) / each; }

/// Cuts a piece of memory into pieces, each at a round address.
class Pieces {
 public:
  explicit Pieces(std::byte* memory = nullptr) : memory_(memory) {}

  template <class T>
  T* take(std::int64_t count) {
    std::byte* at = memory_ ? memory_ + bytes_ : nullptr;
    bytes_ += static_cast<std::size_t>(padded(count * static_cast<std::int64_t>(sizeof(T)), 64));
    return reinterpret_cast<T*>(at);
  }
  Matrix matrix(DType dtype, std::int64_t rows, std::int64_t cols) {
    return {take<std::byte>(rows * cols * static_cast<std::int64_t>(bytes_of(dtype))), dtype, rows, cols, cols};
  }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* memory_;
  std::size_t bytes_ = 0;
};

struct AttentionRoom {
  AttentionRoom(const AttentionBack& op, int threads, std::byte* memory) {
    Pieces pieces(memory);
    along = pieces.take<float>(op.forward.q.rows * op.forward.heads);
    each = attention_back_room(op.forward.cache.shape);
    rooms = pieces.take<float>(each * threads);
    bytes = pieces.bytes();
  }
  float* along;
  float* rooms;
  std::int64_t each;  ///< floats a thread
  std::size_t bytes;
};

struct ExpertsRoom {
  ExpertsRoom(const ExpertsBack& op, std::byte* memory) {
    const Experts& forward = op.forward;
    const std::int64_t choices = forward.x.rows * forward.active;
    Pieces pieces(memory);
    order = pieces.take<std::int32_t>(choices);
    starts = pieces.take<std::int32_t>(forward.up->count + 1);
    blocks = pieces.take<ExpertBlock>(most_blocks(choices, forward.up->count));
    before = pieces.matrix(forward.x.dtype, choices, forward.up->rows);
    inner = pieces.matrix(forward.x.dtype, choices, forward.down->cols);
    gathered = pieces.take<float>(choices * forward.x.cols);
    parts = pieces.take<float>(choices * forward.x.cols);
    if (op.up_gradient) x = pieces.matrix(forward.x.dtype, choices, forward.x.cols);
    if (op.down_gradient) dy = pieces.matrix(op.dy.dtype, choices, op.dy.cols);
    bytes = pieces.bytes();
  }
  std::int32_t* order;
  std::int32_t* starts;
  ExpertBlock* blocks;
  Matrix before, inner;  ///< by expert
  float* gathered;       ///< likewise
  float* parts;          ///< the same by token and place
  Matrix x, dy;          ///< by expert, where weights are trained; dy times its token's weight
  std::size_t bytes;
};

/// Choices by expert.
struct RoutedRoom {
  RoutedRoom(Pieces& pieces, std::int64_t choices, std::int64_t own) {
    order = pieces.take<std::int32_t>(choices);
    starts = pieces.take<std::int32_t>(own + 1);
    blocks = pieces.take<ExpertBlock>(most_blocks(choices, own));
  }
  std::int32_t* order;
  std::int32_t* starts;
  ExpertBlock* blocks;
};

struct RoutedGradientRoom {
  RoutedGradientRoom(const RoutedGradient& op, std::byte* memory)
      : pieces(memory),
        routed(pieces, op.experts.size, op.count),
        dy(pieces.matrix(op.dy.dtype, op.experts.size, op.dy.cols)),
        x(pieces.matrix(op.x.dtype, op.experts.size, op.x.cols)) {}
  Pieces pieces;
  RoutedRoom routed;
  Matrix dy, x;  ///< by expert
};

std::size_t routed_scratch(std::int64_t choices, std::int64_t own) {
  Pieces pieces;
  const RoutedRoom room(pieces, choices, own);
  return pieces.bytes();
}

/// Rows of choices whose expert is not of the stack ← 0.
void clear_others(const Ints& experts, std::int64_t first, std::int64_t own, const Matrix& y) {
  for (std::int64_t choice = 0; choice < experts.size; ++choice) {
    const std::int64_t expert = experts.data[choice] - first;
    if (expert < 0 || expert >= own) std::memset(rows(y, choice, 1).data, 0, row_bytes(y));
  }
}

struct ScoreRoom {
  ScoreRoom(const ScoreBack& op, std::byte* memory) {
    Pieces pieces(memory);
    const std::int64_t rows = op.forward.x.rows;
    dlogits = pieces.matrix(op.forward.x.dtype, rows, kScoreTokens);
    dx = pieces.matrix(DType::kFp32, rows, op.forward.head->cols);
    bytes = pieces.bytes();
  }
  Matrix dlogits, dx;
  std::size_t bytes;
};

/// Of Score for a way back.
struct LogitsRoom {
  LogitsRoom(const Score& op, std::byte* memory) {
    Pieces pieces(memory);
    chunks = std::max<std::int64_t>(1, parts_of(op.head->rows, kScoreTokens));
    stats = pieces.take<float>(chunks * op.x.rows * kScoreColumns);
    logits = pieces.matrix(DType::kFp32, op.x.rows, kScoreTokens);
    bytes = pieces.bytes();
  }
  std::int64_t chunks;
  float* stats;  ///< chunks × rows
  Matrix logits;
  std::size_t bytes;
};

std::int64_t runs_of(const Matrix& row) { return parts_of(row.cols, kRun); }

}  // namespace

std::size_t Training::scratch(const NormBack& op) const {
  const bool is_trained = op.weight_gradient || op.bias_gradient;
  return is_trained ? static_cast<std::size_t>(op.x.rows) * 2 * sizeof(float) : 0;
}
std::size_t Training::scratch(const AttentionBack& op) const {
  return AttentionRoom(op, threads_.count(), nullptr).bytes;
}
std::size_t Training::scratch(const ExpertsBack& op) const { return ExpertsRoom(op, nullptr).bytes; }
std::size_t Training::scratch(const ScoreBack& op) const { return op.others ? 0 : ScoreRoom(op, nullptr).bytes; }
std::size_t Training::scratch(const Score& op) const { return LogitsRoom(op, nullptr).bytes; }
std::size_t Training::scratch(const SquareSum& op) const {
  return static_cast<std::size_t>(runs_of(op.x)) * sizeof(double);
}
std::size_t Training::scratch(const Repack& op) const {
  return static_cast<std::size_t>(threads_.count() * kColumns * op.weight->cols) * sizeof(float);
}

void Training::run(const Activate& op) {
  threads_.run(op.x.rows, [&](std::int64_t row, int) { loops_.activate(op, row); });
}
void Training::run(const ActivateBack& op) {
  threads_.run(op.x.rows, [&](std::int64_t row, int) { loops_.activate_back(op, row); });
}

void Training::back(const LinearBack& op, std::int64_t first_panel, std::int64_t panels) {
  const std::int64_t parts = parts_of(op.dy.rows, kBackRows), blocks = parts_of(op.weight->cols, kPanel);
  // Four parts a thread, so that none waits long for the last; how blocks are put together changes no number.
  const std::int64_t each = std::clamp<std::int64_t>(blocks * parts / (4 * threads_.count()), 1, kBackBlocks);
  threads_.run(parts_of(blocks, each) * parts, [&](std::int64_t unit, int) {
    const std::int64_t from = unit % parts * kBackRows, first = unit / parts * each;
    loops_.linear_back(op, first_panel, panels, first, std::min(each, blocks - first), from,
                       std::min(op.dy.rows, from + kBackRows));
  });
}
void Training::run(const LinearBack& op) { back(op, 0, static_cast<const PanelWeight&>(*op.weight).panels); }

void Training::run(const HeadLinearBack& op) {
  const std::int64_t parts = parts_of(op.dy.rows, kBackRows), blocks = parts_of(op.weight->cols, kPanel);
  threads_.run(op.weight->count * blocks * parts, [&](std::int64_t unit, int) {
    const std::int64_t from = unit % parts * kBackRows;
    loops_.head_linear_back(op, unit / (blocks * parts), unit / parts % blocks, from,
                            std::min(op.dy.rows, from + kBackRows));
  });
}

void Training::run(const WeightGradient& op) {
  const std::int64_t wide = parts_of(op.x.cols, kGradientInputs);
  threads_.run(parts_of(op.dy.cols, kBlockRows) * wide, [&](std::int64_t unit, int) {
    loops_.weight_gradient(op, unit / wide * kBlockRows, unit % wide * kGradientInputs);
  });
}

void Training::run(const RowSum& op) {
  threads_.run(parts_of(op.x.cols, kColumns), [&](std::int64_t unit, int) { loops_.row_sum(op, unit * kColumns); });
}

void Training::run(const NormBack& op, std::span<std::byte> scratch) {
  if (op.weight_gradient || op.bias_gradient) {
    auto* by = reinterpret_cast<float*>(scratch.data());
    threads_.run(op.x.rows, [&](std::int64_t row, int) { loops_.norm_by(op, row, by); });
    threads_.run(parts_of(op.x.cols, kColumns),
                 [&](std::int64_t unit, int) { loops_.norm_gradient(op, unit * kColumns, by); });
  }
  threads_.run(op.x.rows, [&](std::int64_t row, int) { loops_.norm_back(op, row); });
}

void Training::run(const RotaryBack& op) {
  threads_.run(2, [&](std::int64_t of_keys, int) {
    if (of_keys ? op.k_gradient : op.q_gradient) loops_.rotary_gradient(op, of_keys != 0);
  });
  threads_.run(op.dqkv.rows, [&](std::int64_t row, int) { loops_.rotary_back(op, row); });
}

void Training::run(const LatentRotaryBack& op) {
  if (op.kv_gradient) loops_.latent_rotary_gradient(op);
  threads_.run(op.dkv.rows, [&](std::int64_t row, int) { loops_.latent_rotary_back(op, row); });
}

void Training::run(const AttentionBack& op, std::span<std::byte> scratch) {
  const Attention& forward = op.forward;
  const AttentionRoom room(op, threads_.count(), scratch.data());
  const std::int64_t kv_heads = forward.cache.shape.heads;
  const std::int64_t blocks = parts_of(forward.sequences.max_rows * forward.heads / kv_heads, kBlockRows);
  const std::int64_t panels = parts_of(forward.sequences.max_length, kPanel), all = forward.sequences.count * kv_heads;
  threads_.run(forward.q.rows, [&](std::int64_t row, int) { loops_.attention_back_along(op, row, room.along); });
  threads_.run(all * (blocks + panels), [&](std::int64_t unit, int thread) {
    float* const own = room.rooms + thread * room.each;
    const std::int64_t sequence = unit / (kv_heads * (blocks + panels));
    const std::int64_t head = unit / (blocks + panels) % kv_heads, part = unit % (blocks + panels);
    // Those that see most come first, so that none waits long for the last.
    if (part < panels)
      loops_.attention_back_keys(op, sequence, head, part * kPanel, own, room.along);
    else
      loops_.attention_back_queries(op, sequence, head, (blocks - 1 - (part - panels)) * kBlockRows, own, room.along);
  });
}

void Training::run(const RouteBack& op) {
  threads_.run(op.dlogits.rows, [&](std::int64_t row, int) { route_back(op, row); });
}

void Training::run(const ExpertsBack& op, std::span<std::byte> scratch) {
  const Experts& forward = op.forward;
  const ExpertsRoom room(op, scratch.data());
  const std::int64_t hidden = forward.x.cols, active = forward.active;
  for (std::int64_t row = 0; row < op.dweights.rows; ++row)
    std::memset(rows(op.dweights, row, 1).data, 0, row_bytes(op.dweights));
  const std::int64_t count =
      sort_by_expert(forward.experts, forward.first, forward.up->count, room.order, room.starts, room.blocks);
  threads_.run(count, [&](std::int64_t unit, int) {
    const auto [expert, from, to] = room.blocks[unit];
    loops_.expert_back(op, expert, {room.order + from, room.order + to}, rows(room.before, from, 1).data,
                       rows(room.inner, from, 1).data, room.gathered + from * hidden);
    for (std::int64_t i = from; i < to; ++i)
      std::copy_n(room.gathered + i * hidden, hidden, room.parts + room.order[i] * hidden);
  });
  threads_.run(op.dx.rows,
               [&](std::int64_t row, int) { loops_.expert_back_sum(op, row, room.parts + row * active * hidden); });

  const std::int64_t all = room.starts[forward.up->count];
  threads_.run(all, [&](std::int64_t i, int) {
    const std::int64_t token = room.order[i] / active, place = room.order[i] % active;
    if (room.x) std::memcpy(rows(room.x, i, 1).data, rows(forward.x, token, 1).data, row_bytes(forward.x));
    if (!room.dy) return;
    const auto* weights = static_cast<const float*>(rows(forward.weights, token, 1).data);
    loops_.copy({rows(op.dy, token, 1), weights[place], rows(room.dy, i, 1)}, 0);
  });
  for (std::int64_t e = 0; e < forward.up->count; ++e) {
    const std::int64_t from = room.starts[e], some = room.starts[e + 1] - from;
    const auto add = [&](const Matrix& dy, const Matrix& x, const Matrix& gradient, std::int64_t outputs) {
      if (gradient && some > 0)
        run({rows(dy, from, some), rows(x, from, some), 1, rows(gradient, e * outputs, outputs)});
    };
    add(room.before, room.x, op.up_gradient, forward.up->rows);
    add(room.dy, room.inner, op.down_gradient, forward.down->rows);
  }
}

std::size_t Training::scratch(const RoutedLinear& op) const { return routed_scratch(op.y.rows, op.weight->count); }
std::size_t Training::scratch(const RoutedLinearBack& op) const { return routed_scratch(op.dx.rows, op.weight->count); }
std::size_t Training::scratch(const RoutedGradient& op) const { return RoutedGradientRoom(op, nullptr).pieces.bytes(); }

void Training::run(const RoutedLinear& op, std::span<std::byte> scratch) {
  const auto& weight = static_cast<const PanelWeight&>(*op.weight);
  Pieces pieces(scratch.data());
  const RoutedRoom room(pieces, op.y.rows, weight.count);
  const std::int64_t count = sort_by_expert(op.experts, op.first, weight.count, room.order, room.starts, room.blocks);
  if (!op.add) clear_others(op.experts, op.first, weight.count, op.y);
  threads_.run(count * weight.panels, [&](std::int64_t unit, int) {
    const auto [expert, from, to] = room.blocks[unit / weight.panels];
    loops_.routed_linear(op, expert, unit % weight.panels, {room.order + from, room.order + to});
  });
}

void Training::run(const Mix& op) {
  threads_.run(op.y.rows, [&](std::int64_t row, int) { loops_.mix(op, row); });
}

void Training::run(const RoutedLinearBack& op, std::span<std::byte> scratch) {
  Pieces pieces(scratch.data());
  const RoutedRoom room(pieces, op.dx.rows, op.weight->count);
  const std::int64_t blocks = parts_of(op.weight->cols, kPanel);
  const std::int64_t count =
      sort_by_expert(op.experts, op.first, op.weight->count, room.order, room.starts, room.blocks);
  if (!op.add) clear_others(op.experts, op.first, op.weight->count, op.dx);
  threads_.run(count * blocks, [&](std::int64_t unit, int) {
    const auto [expert, from, to] = room.blocks[unit / blocks];
    loops_.routed_linear_back(op, expert, unit % blocks, {room.order + from, room.order + to});
  });
}

void Training::run(const RoutedGradient& op, std::span<std::byte> scratch) {
  const RoutedGradientRoom room(op, scratch.data());
  sort_by_expert(op.experts, op.first, op.count, room.routed.order, room.routed.starts, room.routed.blocks);
  const auto gather = [&](const Matrix& from, const Matrix& to, std::int64_t i) {
    const std::int64_t choice = room.routed.order[i];
    const std::int64_t row = from.rows == op.experts.size ? choice : choice / op.active;
    std::memcpy(rows(to, i, 1).data, rows(from, row, 1).data, row_bytes(from));
  };
  threads_.run(room.routed.starts[op.count], [&](std::int64_t i, int) {
    gather(op.dy, room.dy, i);
    gather(op.x, room.x, i);
  });
  for (std::int64_t e = 0; e < op.count; ++e) {
    const std::int64_t from = room.routed.starts[e], some = room.routed.starts[e + 1] - from;
    if (some > 0)
      run(WeightGradient{rows(room.dy, from, some), rows(room.x, from, some), op.scale,
                         rows(op.gradient, e * op.dy.cols, op.dy.cols)});
  }
}

void Training::run(const Weigh& op) {
  threads_.run(op.dy.rows, [&](std::int64_t choice, int) { loops_.weigh(op, choice); });
}

void Training::run(const EmbedBack& op) {
  threads_.run(parts_of(op.dx.cols, kColumns), [&](std::int64_t unit, int) { loops_.embed_back(op, unit * kColumns); });
}

void Training::run(const Score& op, std::span<std::byte> scratch) {
  const LogitsRoom room(op, scratch.data());
  const auto& head = static_cast<const PanelWeight&>(*op.head);
  const std::int64_t some = kScoreTokens / kPanel, parts = parts_of(op.x.rows, kBlockRows);
  // Logits become what the head's rows are multiplied by where they stand.
  Matrix factors = room.logits;
  factors.dtype = op.x.dtype;
  factors.stride =
      kScoreTokens * static_cast<std::int64_t>(sizeof(float) / static_cast<std::size_t>(bytes_of(op.x.dtype)));
  for (std::int64_t target = 0; target < op.found.rows; ++target)
    *static_cast<float*>(rows(op.found, target, 1).data) = 0;
  for (std::int64_t chunk = 0; chunk < room.chunks; ++chunk) {
    const std::int64_t first = chunk * some, panels = std::min(some, head.panels - first);
    threads_.run(panels * parts, [&](std::int64_t unit, int) {
      const std::int64_t from = unit % parts * kBlockRows;
      loops_.score_panel(op, first + unit / parts, first, from, std::min(op.x.rows, from + kBlockRows), room.logits);
    });
    threads_.run(op.x.rows, [&](std::int64_t row, int) {
      loops_.score_row(op, chunk, row, chunk == 0, room.stats + (chunk * op.x.rows + row) * kScoreColumns,
                       static_cast<float*>(rows(room.logits, row, 1).data));
    });
    back({columns(factors, 0, std::min(kScoreTokens, head.rows - first * kPanel)), op.head, 1, chunk > 0,
          op.others.sums},
         first, panels);
  }
  threads_.run(op.x.rows, [&](std::int64_t row, int) {
    combine(room.stats + row * kScoreColumns, op.x.rows * kScoreColumns, room.chunks,
            static_cast<float*>(rows(op.stats, row, 1).data));
  });
}

void Training::run(const ScoreBack& op, std::span<std::byte> scratch) {
  if (op.others) {
    threads_.run(op.dx.rows, [&](std::int64_t row, int) { loops_.score_back_row(op, row); });
    return;
  }
  const ScoreRoom room(op, scratch.data());
  const auto& head = static_cast<const PanelWeight&>(*op.forward.head);
  const std::int64_t some = kScoreTokens / kPanel, parts = parts_of(op.forward.x.rows, kBlockRows);
  LinearBack back_to_x{room.dlogits, op.forward.head, op.forward.scale, false, room.dx};
  // Also of a head of no rows: dx is written.
  for (std::int64_t first = 0; first == 0 || first < head.panels; first += some) {
    const std::int64_t panels = std::min(some, head.panels - first);
    const Matrix dlogits = columns(room.dlogits, 0, std::min(kScoreTokens, head.rows - first * kPanel));
    threads_.run(panels * parts, [&](std::int64_t unit, int) {
      const std::int64_t from = unit % parts * kBlockRows;
      loops_.score_back(op, first + unit / parts, first, from, std::min(op.forward.x.rows, from + kBlockRows), dlogits);
    });
    back_to_x.dy = dlogits;
    back(back_to_x, first, panels);
    back_to_x.add = true;
    if (op.head_gradient)
      run(WeightGradient{dlogits, op.forward.x, op.forward.scale,
                         rows(op.head_gradient, first * kPanel, dlogits.cols)});
    if (op.bias_gradient) run(RowSum{dlogits, 1, columns(op.bias_gradient, first * kPanel, dlogits.cols)});
  }
  run(Copy{room.dx, 1, op.dx});
}

void Training::run(const Scatter& op) {
  threads_.run(op.y.rows, [&](std::int64_t row, int) { std::memset(rows(op.y, row, 1).data, 0, row_bytes(op.y)); });
  threads_.run(op.x.rows, [&](std::int64_t row, int) {
    std::memcpy(rows(op.y, op.rows.data[row], 1).data, rows(op.x, row, 1).data, row_bytes(op.x));
  });
}
void Training::run(const Dropout& op) {
  threads_.run(op.x.rows, [&](std::int64_t row, int) { loops_.dropout(op, row); });
}
void Training::run(const Copy& op) {
  threads_.run(op.from.rows, [&](std::int64_t row, int) { loops_.copy(op, row); });
}

void Training::run(const Repack& op, std::span<std::byte> scratch) {
  auto& weight = static_cast<PanelWeight&>(*op.weight);
  threads_.run(weight.panels, [&](std::int64_t panel, int thread) {
    float* const some = reinterpret_cast<float*>(scratch.data()) + thread * kColumns * weight.cols;
    for (std::int64_t column = 0; column < kPanel; column += kColumns) {
      for (std::int64_t c = 0; c < kColumns; ++c) {
        const std::int64_t row = weight.row_at(panel, column + c);
        float* to = some + c * weight.cols;
        const auto* from = static_cast<const float*>(op.from.data);
        if (row < 0)
          std::fill_n(to, weight.cols, 0.0F);
        else if (!op.transposed)
          std::copy_n(from + row * op.from.stride, weight.cols, to);
        else
          for (std::int64_t k = 0; k < weight.cols; ++k) to[k] = from[k * op.from.stride + row];
      }
      loops_.lay_out(weight, op.index, panel, column, some, nullptr);
    }
  });
}

void Training::run(const AdamW& op) {
  threads_.run(runs_of(op.parameter), [&](std::int64_t unit, int) {
    loops_.adamw(op, unit * kRun, std::min(op.parameter.cols, (unit + 1) * kRun));
  });
}
void Training::run(const Blend& op) {
  threads_.run(runs_of(op.x),
               [&](std::int64_t unit, int) { loops_.blend(op, unit * kRun, std::min(op.x.cols, (unit + 1) * kRun)); });
}
void Training::run(const SquareSum& op, std::span<std::byte> scratch) {
  auto* sums = reinterpret_cast<double*>(scratch.data());
  const std::int64_t runs = runs_of(op.x);
  threads_.run(runs, [&](std::int64_t unit, int) {
    sums[unit] = loops_.square_sum(op, unit * kRun, std::min(op.x.cols, (unit + 1) * kRun));
  });
  double total = 0;
  for (std::int64_t i = 0; i < runs; ++i) total += sums[i];
  auto* out = static_cast<float*>(op.sum.data);
  out[0] = static_cast<float>(total);
  out[1] = static_cast<float>(total - static_cast<double>(out[0]));
}

}  // namespace orch::kernels::cpu
