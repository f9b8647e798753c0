#include "train/gathering.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace orch::train {
namespace {

using nlohmann::json;

std::size_t count_of(std::span<const Piece> pieces) {
  std::int64_t count = 0;
  for (const Piece& piece : pieces) count = std::max(count, piece.at + piece.rows * piece.cols);
  return static_cast<std::size_t>(count);
}

json parts_of(const std::vector<model::Part>& parts) {
  json all = json::array();
  for (const model::Part& part : parts) all.push_back({part.first, part.count});
  return all;
}
std::vector<model::Part> read_parts(const json& from) {
  std::vector<model::Part> parts;
  for (const json& part : from) parts.push_back({part.at(0), part.at(1)});
  return parts;
}

/// Where the pieces lie, for another rank.
std::string text_of(std::span<const Piece> pieces) {
  json all = json::array();
  for (const Piece& piece : pieces)
    all.push_back({piece.name, piece.rows, piece.cols, piece.at, piece.all_rows, piece.all_cols,
                   parts_of(piece.row_parts), parts_of(piece.col_parts), piece.is_transposed});
  return all.dump();
}
std::vector<Piece> read_pieces(const std::string& text) {
  std::vector<Piece> pieces;
  for (const json& from : json::parse(text)) {
    Piece& piece = pieces.emplace_back();
    piece.name = from.at(0);
    piece.rows = from.at(1);
    piece.cols = from.at(2);
    piece.at = from.at(3);
    piece.all_rows = from.at(4);
    piece.all_cols = from.at(5);
    piece.row_parts = read_parts(from.at(6));
    piece.col_parts = read_parts(from.at(7));
    piece.is_transposed = from.at(8);
  }
  return pieces;
}

void put(std::span<const float> row, std::span<const Piece> pieces, std::vector<float> Trained::*member,
         std::map<std::string, Trained>& whole) {
  for (const Piece& piece : pieces) {
    Trained& it = whole[piece.name];
    it.rows = piece.all_rows;
    it.cols = piece.all_cols;
    std::vector<float>& to = it.*member;
    to.resize(static_cast<std::size_t>(it.rows * it.cols));
    put_in_whole(piece, row, to);
  }
}

}  // namespace

Result<Gathering> Gathering::make(comm::Transport& ranks, std::span<const Piece> pieces) {
  Gathering it(ranks, pieces);
  for (int rank = 1; rank < ranks.ranks(); ++rank) {
    const auto text = comm::share_text(ranks, rank == ranks.rank() ? text_of(pieces) : "", rank);
    if (!text) return text.error();
    if (ranks.rank() == 0) it.others_.push_back(read_pieces(*text));
  }
  return it;
}

Result<std::map<std::string, Trained>> Gathering::whole(const RunState& state) const {
  std::map<std::string, Trained> whole;
  for (const auto& [row, member] :
       {std::pair(&state.values, &Trained::values), std::pair(&state.first, &Trained::first),
        std::pair(&state.second, &Trained::second), std::pair(&state.average, &Trained::average)}) {
    if (row->empty()) continue;
    if (ranks_.rank() > 0) {
      if (auto sent = ranks_.send(std::as_bytes(std::span(*row)), 0); !sent) return sent.error();
      continue;
    }
    put(*row, pieces_, member, whole);
    for (std::size_t other = 0; other < others_.size(); ++other) {
      std::vector<float> theirs(count_of(others_[other]));
      const auto got = ranks_.receive(std::as_writable_bytes(std::span(theirs)), static_cast<int>(other) + 1);
      if (!got) return got.error();
      put(theirs, others_[other], member, whole);
    }
  }
  return whole;
}

Result<bool> Gathering::take_part(const std::map<std::string, TrainedView>& whole, bool average,
                                  RunState& state) const {
  const std::size_t count = count_of(pieces_);
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
    for (const auto& [from, to] : {std::pair(it.values, &state.values), std::pair(it.first, &state.first),
                                   std::pair(it.second, &state.second), std::pair(it.average, &state.average)})
      if (!from.empty()) take_from_whole(piece, from, *to);
  }
  return true;
}

model::WholeTensors tensors_of(const std::map<std::string, Trained>& whole, bool average) {
  model::WholeTensors tensors;
  for (const auto& [name, it] : whole) tensors[name] = average && !it.average.empty() ? it.average : it.values;
  return tensors;
}

model::PeftAdapter adapter_of(const std::map<std::string, Trained>& whole, bool average, const AdapterRules& rules,
                              double dropout, const std::string& base, std::int64_t experts) {
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
    it.experts = model::is_stack_of_experts(path) ? experts : 0;
    it.rank = a.rows / std::max<std::int64_t>(1, it.experts);
    it.inputs = a.cols;
    it.outputs = b.cols;
    const auto rank = static_cast<double>(it.rank);
    it.scale = rules.alpha / (rules.rank_stabilised ? std::sqrt(rank) : rank);
    it.a = numbers_of(a);
    const std::vector<float>& turned = numbers_of(b);  // B is kept transposed
    it.b.resize(turned.size());
    const std::int64_t stack = std::max<std::int64_t>(1, it.experts);
    for (std::int64_t e = 0; e < stack; ++e)
      for (std::int64_t r = 0; r < it.rank; ++r)
        for (std::int64_t output = 0; output < it.outputs; ++output)
          it.b[static_cast<std::size_t>((e * it.outputs + output) * it.rank + r)] =
              turned[static_cast<std::size_t>((e * it.rank + r) * it.outputs + output)];
  }
  return adapter;
}

}  // namespace orch::train
