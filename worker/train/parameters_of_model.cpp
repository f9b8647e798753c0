#include <algorithm>

#include "base/text.h"
#include "model/trained.h"
#include "train/parameters.h"

namespace orch::train {

using kernels::Matrix;
using kernels::Stream;
using model::Part;
using model::Run;
using model::Source;
using model::Trainable;

namespace {

Result<bool> check(const model::Decoder& decoder) {
  const model::Shard& shard = decoder.shard();
  const model::AttentionKind& attention = decoder.architecture().attention;
  if (decoder.formats().weights == DType::kInt8)
    return Error{"a model whose weights are kept in int8 cannot be trained in full; an adapter on top of it can"};
  if (!attention.latent && attention.kv_heads < shard.ranks)
    return Error{"a model cannot be trained in full over " + std::to_string(shard.ranks) + " ranks: it has " +
                 counted(attention.kv_heads, "head") + " of keys and values"};
  return true;
}

/// f(from of the piece, from of the whole, count) of numbers that stand side by side in both, until all were named.
template <class F>
void each_run(const Piece& piece, const F& f) {
  auto at = static_cast<std::size_t>(piece.at);
  const auto place = [&](std::int64_t row, std::int64_t col) {
    return static_cast<std::size_t>(row * piece.all_cols + col);
  };
  for (const Part& rows : piece.row_parts)
    for (std::int64_t row = rows.first; row < rows.first + rows.count; ++row)
      for (const Part& cols : piece.col_parts) {
        const auto count = static_cast<std::size_t>(cols.count);
        if (!piece.is_transposed) f(at, place(row, cols.first), count);
        for (std::size_t i = 0; piece.is_transposed && i < count; ++i)
          f(at + i, place(cols.first + static_cast<std::int64_t>(i), row), 1);
        at += count;
      }
}

}  // namespace

void put_in_whole(const Piece& piece, std::span<const float> row, std::span<float> whole) {
  each_run(piece, [&](std::size_t own, std::size_t of_whole, std::size_t count) {
    std::copy_n(row.data() + own, count, whole.data() + of_whole);
  });
}

void take_from_whole(const Piece& piece, std::span<const float> whole, std::span<float> row) {
  each_run(piece, [&](std::size_t own, std::size_t of_whole, std::size_t count) {
    std::copy_n(whole.data() + of_whole, count, row.data() + own);
  });
}

Result<std::unique_ptr<Parameters>> Parameters::of_model(kernels::Backend& backend, model::Decoder& decoder,
                                                         const model::Sources& sources, bool average) {
  if (auto can = check(decoder); !can) return can.error();
  if (auto can = model::check_trainable(decoder.architecture(), sources); !can) return can.error();
  std::unique_ptr<Parameters> it(new Parameters(backend, decoder));
  const std::vector<Trainable> all = decoder.trainable(sources, it->gradients_);
  std::vector<std::size_t> first_pieces;
  for (const Trainable& trainable : all) {
    first_pieces.push_back(it->pieces_.size());
    it->add_pieces(trainable);
  }
  it->lay_out();
  if (auto has = it->allocate(average); !has) return has.error();
  const auto stream = backend.make_stream();
  backend.clear(*stream, it->values_.data, static_cast<std::size_t>(it->count_) * sizeof(float));
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::int64_t at = it->pieces_[first_pieces[i]].at;
    it->add_weights(all[i], at);
    if (auto read = it->read_begin(*stream, all[i], at); !read) return read.error();
  }
  if (decoder.architecture().tied) it->gradients_.head = it->gradients_.embedding;
  if (auto has = it->allocate_scratch(); !has) return has.error();
  for (const Matrix& row : {it->first_, it->second_})
    backend.clear(*stream, row.data, static_cast<std::size_t>(it->count_) * sizeof(float));
  it->clear_gradients(*stream);
  if (average) backend.run(*stream, kernels::Copy{it->values_, 1, it->average_});
  it->pack(*stream);  // the decoder may have been trained before
  if (auto waited = backend.wait(*stream); !waited) return waited.error();
  return it;
}

void Parameters::add_pieces(const Trainable& trainable) {
  const bool is_cut = decoder_.shard().ranks > 1, is_vector = !trainable.weight;
  for (const Source& source : trainable.stack) {
    std::string last;
    for (const Run& run : source.runs) {
      if (run.name != last) {
        Piece& piece = pieces_.emplace_back();
        piece.name = last = run.name;
        piece.is_summed = is_cut && trainable.held == model::Held::kSummed;
        piece.is_alike = is_cut && trainable.held == model::Held::kAlike;
        piece.decays = !is_vector;
        if (is_vector) {
          piece.rows = piece.all_rows = 1;
          piece.all_cols = run.rows;
          piece.row_parts.push_back({0, 1});
        } else {
          piece.cols = source.cols;
          piece.all_rows = run.rows;
          piece.all_cols = run.cols;
          piece.col_parts.push_back({source.from, source.cols});
          piece.is_transposed = source.transposed;
        }
      }
      Piece& piece = pieces_.back();
      (is_vector ? piece.cols : piece.rows) += run.count;
      (is_vector ? piece.col_parts : piece.row_parts).push_back({run.first, run.count});
    }
  }
}

void Parameters::add_weights(const Trainable& trainable, std::int64_t at) {
  if (!trainable.weight) {
    copied_.push_back({at, trainable.vector});
    *trainable.gradient = view(gradient_, at, 1, trainable.vector.cols);
    return;
  }
  const kernels::Weight& weight = *trainable.weight;
  *trainable.gradient = view(gradient_, at, weight.count * weight.rows, weight.cols);
  for (std::int64_t i = 0; i < weight.count; ++i)
    packed_.push_back(
        {at + i * weight.rows * weight.cols, weight.rows, weight.cols, weight.cols, false, trainable.weight, i});
}

// One after another: of a large model the host never has much more than the largest matrix.
Result<bool> Parameters::read_begin(Stream& stream, const Trainable& trainable, std::int64_t at) {
  for (const Source& source : trainable.stack) {
    if (!source.runs.front().tensor) continue;  // of shapes alone (model::shapes_of) there is nothing to read
    const std::vector<float> numbers = model::read_all(source);
    backend_.upload(stream, static_cast<float*>(values_.data) + at, numbers.data(), numbers.size() * sizeof(float));
    if (auto waited = backend_.wait(stream); !waited) return waited.error();
    at += static_cast<std::int64_t>(numbers.size());
  }
  return true;
}

}  // namespace orch::train
