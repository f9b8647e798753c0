// What is trained: all of its numbers in one row of fp32 in the backend's memory, with their gradients, AdamW's two
// moments and, if asked for, their average; and the weights that are made of them, in the format in which the decoder
// computes.
//
// Holds:
//  - How an adapter begins depends on the seed, its module's name and its place in the module alone: not on which ranks
//    have it.
//  - Ranks that have the same parameters keep the same bits: their gradients are summed in rank order.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "model/modules.h"

namespace orch::train {

struct AdapterRules {
  std::int64_t rank = 8;
  double alpha = 16;
  bool rank_stabilised = false;
  /// Ends of modules' names ("q_proj"), or patterns of whole ones ("*.layers.0.*"), with a rank of their own behind a
  /// colon ("down_proj:4"); of several that meet a module the last counts. Empty: all modules.
  std::vector<std::string> targets;
  std::uint64_t seed = 0;
};

struct AdamRules {
  double rate = 0;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double decay = 0;
};

/// A matrix of what is trained.
struct Piece {
  std::string name;                               ///< as PEFT's file has it
  std::int64_t rows = 0, cols = 0;                ///< of this rank; B is kept transposed
  std::int64_t at = 0;                            ///< in the row
  bool is_summed = false;                         ///< all tensor ranks have it, and each knows a part of its gradient
  std::int64_t all_rows = 0, all_cols = 0;        ///< of the whole matrix, over all tensor ranks
  std::vector<model::Part> row_parts, col_parts;  ///< which of its rows and columns these are, in order
};

class Parameters {
 public:
  /// `average`: keep one. An error names a target that no module has, or why the ranks cannot share it.
  static Result<std::unique_ptr<Parameters>> of_adapter(kernels::Backend& backend, const model::Decoder& decoder,
                                                        const model::Sources& sources, const AdapterRules& rules,
                                                        bool average);

  std::int64_t count() const { return count_; }
  const std::vector<Piece>& pieces() const { return pieces_; }
  const model::Adapter& adapter() const { return adapter_; }
  const model::Gradients& gradients() const { return gradients_; }

  void clear_gradients(kernels::Stream& stream);
  /// Over the ranks that teach other samples, and of what the tensor ranks share.
  void sum_gradients(kernels::Stream& stream, comm::Communicator* data);
  /// Of the whole gradient of all tensor ranks, no number where one of it is none. Waits.
  Result<double> gradient_norm(kernels::Stream& stream);
  /// One step of AdamW, number `step` from 1, and new weights of what came of it.
  void update(kernels::Stream& stream, const AdamRules& rules, std::int64_t step, double gradient_scale);
  /// average ← average + (1 − decay) · (values − average).
  void update_average(kernels::Stream& stream, double decay);
  /// Weights of the values, or of their average.
  void pack(kernels::Stream& stream, bool of_average = false);

  /// Everything that a run goes on with: values, moments and average, a row each.
  enum class Row : std::uint8_t { kValues, kFirst, kSecond, kAverage };
  bool has_average() const { return average_.data != nullptr; }
  Result<std::vector<float>> read(kernels::Stream& stream, Row row);
  Result<bool> write(kernels::Stream& stream, Row row, const std::vector<float>& numbers);

 private:
  struct Packed {
    std::size_t piece = 0;
    bool transposed = false;
    model::WeightPtr weight;
  };
  Parameters(kernels::Backend& backend, const model::Decoder& decoder) : backend_(backend), decoder_(decoder) {}
  Result<bool> allocate(bool average);
  Result<bool> allocate_scratch();
  kernels::Repack repack_of(const Packed& packed, const kernels::Matrix& row) const;
  kernels::Matrix view(const kernels::Matrix& row, const Piece& piece) const;
  kernels::Matrix matrix_of(Row row) const;
  void begin(std::vector<float>& values, std::uint64_t seed) const;

  kernels::Backend& backend_;
  const model::Decoder& decoder_;
  std::vector<model::Module> modules_;  ///< each has two pieces, A and B
  std::vector<Piece> pieces_;           ///< those that are summed come first in the row
  std::int64_t count_ = 0, summed_ = 0;
  std::unique_ptr<kernels::Buffer> memory_, scratch_;
  kernels::Matrix values_, gradient_, first_, second_, average_;
  kernels::Matrix squares_;  ///< of the gradient: what ranks share, then this rank's own
  std::vector<Packed> packed_;
  model::Adapter adapter_;
  model::Gradients gradients_;
};

}  // namespace orch::train
