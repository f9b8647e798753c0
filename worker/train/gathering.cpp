#include "train/gathering.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/text.h"

namespace orch::train {
namespace {

using Numbers = std::vector<std::int64_t>;

std::int64_t count_of(std::span<const Piece> pieces) {
  std::int64_t count = 0;
  for (const Piece& piece : pieces) count = std::max(count, piece.at + piece.rows * piece.cols);
  return count;
}

/// Where the pieces lie, as numbers that can be sent.
Numbers numbers_of(std::span<const Piece> pieces) {
  Numbers numbers;
  for (const Piece& piece : pieces) {
    numbers.insert(numbers.end(), {piece.at, piece.rows, piece.cols});
    for (const std::vector<model::Part>& parts : {piece.row_parts, piece.col_parts}) {
      numbers.push_back(static_cast<std::int64_t>(parts.size()));
      for (const model::Part& part : parts) numbers.insert(numbers.end(), {part.first, part.count});
    }
  }
  return numbers;
}

std::vector<Piece> pieces_of(const Numbers& numbers, std::size_t count) {
  std::vector<Piece> pieces(count);
  std::size_t at = 0;
  for (Piece& piece : pieces) {
    for (std::int64_t* member : {&piece.at, &piece.rows, &piece.cols}) *member = numbers[at++];
    for (std::vector<model::Part>* parts : {&piece.row_parts, &piece.col_parts}) {
      parts->resize(static_cast<std::size_t>(numbers[at++]));
      for (model::Part& part : *parts) {
        part.first = numbers[at++];
        part.count = numbers[at++];
      }
    }
  }
  return pieces;
}

/// Each run of numbers that lie side by side in the piece and in the whole matrix: from where, to where, how many.
void each_run(const Piece& piece, std::int64_t all_cols,
              const std::function<void(std::size_t own, std::size_t whole, std::size_t count)>& use) {
  std::int64_t own = piece.at;
  for (const model::Part& rows : piece.row_parts)
    for (std::int64_t row = rows.first; row < rows.first + rows.count; ++row)
      for (const model::Part& cols : piece.col_parts) {
        use(static_cast<std::size_t>(own), static_cast<std::size_t>(row * all_cols + cols.first),
            static_cast<std::size_t>(cols.count));
        own += cols.count;
      }
}

void put(std::span<const float> row, std::span<const Piece> pieces, std::span<const Piece> named,
         std::vector<float> Trained::*member, std::map<std::string, Trained>& whole) {
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::vector<float>& to = whole.at(named[i].name).*member;
    to.resize(static_cast<std::size_t>(named[i].all_rows * named[i].all_cols));
    each_run(pieces[i], named[i].all_cols, [&](std::size_t own, std::size_t at, std::size_t count) {
      std::copy_n(row.data() + own, count, to.data() + at);
    });
  }
}

Result<bool> send(comm::Transport& ranks, const auto& numbers) {
  return ranks.send(std::as_bytes(std::span(numbers)), 0);
}
Result<bool> receive(comm::Transport& ranks, auto& numbers, int from) {
  return ranks.receive(std::as_writable_bytes(std::span(numbers)), from);
}

}  // namespace

Result<Gathering> Gathering::make(comm::Transport& ranks, std::span<const Piece> pieces) {
  Gathering it(ranks, pieces);
  const Numbers own = numbers_of(pieces);
  if (ranks.rank() > 0) {
    if (auto sent = send(ranks, Numbers{static_cast<std::int64_t>(own.size())}); !sent) return sent.error();
    if (auto sent = send(ranks, own); !sent) return sent.error();
    return it;
  }
  for (int rank = 1; rank < ranks.ranks(); ++rank) {
    Numbers size(1);
    if (auto got = receive(ranks, size, rank); !got) return got.error();
    Numbers numbers(static_cast<std::size_t>(size[0]));
    if (auto got = receive(ranks, numbers, rank); !got) return got.error();
    it.others_.push_back(pieces_of(numbers, pieces.size()));
  }
  return it;
}

Result<std::map<std::string, Trained>> Gathering::whole(const RunState& state) const {
  std::map<std::string, Trained> whole;
  const bool is_first = ranks_.rank() == 0;
  if (is_first)
    for (const Piece& piece : pieces_) {
      Trained& it = whole[piece.name];
      it.rows = piece.all_rows;
      it.cols = piece.all_cols;
    }
  for (const auto& [row, member] :
       {std::pair(&state.values, &Trained::values), std::pair(&state.first, &Trained::first),
        std::pair(&state.second, &Trained::second), std::pair(&state.average, &Trained::average)}) {
    if (row->empty()) continue;
    if (!is_first) {
      if (auto sent = send(ranks_, *row); !sent) return sent.error();
      continue;
    }
    put(*row, pieces_, pieces_, member, whole);
    for (std::size_t other = 0; other < others_.size(); ++other) {
      std::vector<float> theirs(static_cast<std::size_t>(count_of(others_[other])));
      if (auto got = receive(ranks_, theirs, static_cast<int>(other) + 1); !got) return got.error();
      put(theirs, others_[other], pieces_, member, whole);
    }
  }
  return whole;
}

Result<bool> Gathering::take_part(const std::map<std::string, TrainedView>& whole, bool average,
                                  RunState& state) const {
  const auto count = static_cast<std::size_t>(count_of(pieces_));
  for (std::vector<float>* row : {&state.values, &state.first, &state.second}) row->assign(count, 0);
  state.average.assign(average ? count : 0, 0);
  for (const Piece& piece : pieces_) {
    const auto found = whole.find(piece.name);
    if (found == whole.end()) return Error{"it has no " + quote(piece.name)};
    const TrainedView& it = found->second;
    if (it.rows != piece.all_rows || it.cols != piece.all_cols)
      return Error{quote(piece.name) + " is " + std::to_string(it.rows) + " × " + std::to_string(it.cols) +
                   " there, and " + std::to_string(piece.all_rows) + " × " + std::to_string(piece.all_cols) +
                   " are trained"};
    if (average == it.average.empty())
      return Error{average ? "it has no average of the weights" : "it has an average of the weights, and none is kept"};
    each_run(piece, piece.all_cols, [&](std::size_t own, std::size_t at, std::size_t run) {
      for (const auto& [from, to] : {std::pair(it.values, &state.values), std::pair(it.first, &state.first),
                                     std::pair(it.second, &state.second), std::pair(it.average, &state.average)})
        if (!from.empty()) std::copy_n(from.data() + at, run, to->data() + own);
    });
  }
  if (whole.size() != pieces_.size())
    return Error{"it has " + counted(static_cast<std::int64_t>(whole.size()), "matrix", "matrices") + ", and " +
                 std::to_string(pieces_.size()) + " are trained"};
  return true;
}

model::PeftAdapter adapter_of(const std::map<std::string, Trained>& whole, bool average, const AdapterRules& rules,
                              double dropout, const std::string& base) {
  constexpr std::string_view kStart = "base_model.model.", kA = ".lora_A.weight", kB = ".lora_B.weight";
  model::PeftAdapter adapter;
  adapter.base = base;
  adapter.dropout = dropout;
  adapter.rank_stabilised = rules.rank_stabilised;
  const auto numbers_of = [&](const Trained& it) -> const std::vector<float>& {
    return average && !it.average.empty() ? it.average : it.values;
  };
  for (const auto& [name, a] : whole) {
    if (!name.ends_with(kA)) continue;
    const std::string path = name.substr(kStart.size(), name.size() - kStart.size() - kA.size());
    const Trained& b = whole.at(std::string(kStart) + path + std::string(kB));
    model::PeftModule& it = adapter.modules.emplace_back();
    it.path = path;
    it.alpha = rules.alpha;
    it.rank = a.rows;
    it.inputs = a.cols;
    it.outputs = b.cols;
    const auto rank = static_cast<double>(it.rank);
    it.scale = rules.alpha / (rules.rank_stabilised ? std::sqrt(rank) : rank);
    it.a = numbers_of(a);
    const std::vector<float>& turned = numbers_of(b);  // B is kept transposed
    it.b.resize(turned.size());
    for (std::int64_t r = 0; r < it.rank; ++r)
      for (std::int64_t output = 0; output < it.outputs; ++output)
        it.b[static_cast<std::size_t>(output * it.rank + r)] =
            turned[static_cast<std::size_t>(r * it.outputs + output)];
  }
  return adapter;
}

}  // namespace orch::train
