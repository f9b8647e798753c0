// What is trained: all of its numbers in one row of fp32 in the backend's memory, with their gradients, AdamW's two
// moments and, if asked for, their average; and the weights that are made of them, in the format in which the decoder
// computes. Either an adapter, with weights of its own, or the model itself: then the decoder's own weights change.
//
// Holds:
//  - How an adapter begins depends on the seed, its module's name and its place in the module alone: not on which ranks
//    have it. A model begins with its checkpoint's numbers, however few bits the decoder has of them.
//  - Ranks that have the same parameters keep the same bits: their gradients are summed in rank order.
#pragma once

#include <memory>
#include <span>
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
  /// colon ("down_proj:4"); of several that meet a module the last counts. Empty: all linear layers. Experts of which
  /// each token has some are none, and are met by patterns and by their own names: "experts", "experts.down_proj".
  std::vector<std::string> targets;
  std::uint64_t seed = 0;
};

struct AdamRules {
  double rate = 0;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double decay = 0;
};

/// What this rank has of a matrix of what is trained. Of one tensor of a checkpoint it may have several pieces (heads,
/// experts), and of another rank's it may have none. A vector is a matrix of one row.
struct Piece {
  std::string name;                         ///< of the whole matrix: as PEFT's file has it, or the checkpoint
  std::int64_t rows = 0, cols = 0;          ///< of this rank; an adapter's B is kept transposed
  std::int64_t at = 0;                      ///< in the row
  bool is_summed = false;                   ///< all tensor ranks have it, and each knows a part of its gradient
  bool is_alike = false;                    ///< all tensor ranks have it, and each knows all of its gradient
  bool decays = true;                       ///< norms and biases do not
  std::int64_t all_rows = 0, all_cols = 0;  ///< of the whole matrix
  std::vector<model::Part> row_parts;       ///< which of the whole's rows these are, in order
  std::vector<model::Part> col_parts;       ///< which of its columns
  bool is_transposed = false;               ///< row_parts are of the whole's columns, and col_parts of its rows
};

/// whole ← what the row has of it; it has all_rows × all_cols numbers.
void put_in_whole(const Piece& piece, std::span<const float> row, std::span<float> whole);
/// The other way.
void take_from_whole(const Piece& piece, std::span<const float> whole, std::span<float> row);

class Parameters {
 public:
  /// `average`: keep one. An error names a target that no module has, or why the ranks cannot share it.
  static Result<std::unique_ptr<Parameters>> of_adapter(kernels::Backend& backend, const model::Decoder& decoder,
                                                        const model::Sources& sources, const AdapterRules& rules,
                                                        bool average);
  /// All weights of the decoder, which is changed from now on. An error says why they cannot be trained.
  static Result<std::unique_ptr<Parameters>> of_model(kernels::Backend& backend, model::Decoder& decoder,
                                                      const model::Sources& sources, bool average);

  std::int64_t count() const { return count_; }
  const std::vector<Piece>& pieces() const { return pieces_; }
  /// Null where the model itself is trained.
  const model::Adapter* adapter() const { return modules_.empty() ? nullptr : &adapter_; }
  const model::Gradients& gradients() const { return gradients_; }

  void clear_gradients(kernels::Stream& stream);
  /// Over the ranks that teach other samples, and of what the tensor ranks share.
  void sum_gradients(kernels::Stream& stream, comm::Communicator* data);
  /// Of the whole gradient of all tensor ranks, no number where one of it is none. Waits.
  Result<double> gradient_norm(kernels::Stream& stream);
  /// One step of AdamW, number `step` from 1, and new weights of what came of it. Norms and biases do not decay.
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
  /// A matrix of a weight that is made of a part of the row.
  struct Packed {
    std::int64_t at = 0, rows = 0, cols = 0;
    std::int64_t stride = 0;  ///< from a row to the next
    bool transposed = false;
    kernels::Weight* weight = nullptr;
    std::int64_t index = 0;
  };
  /// A vector likewise.
  struct Copied {
    std::int64_t at = 0;
    kernels::Matrix to;
  };
  Parameters(kernels::Backend& backend, const model::Decoder& decoder) : backend_(backend), decoder_(decoder) {}
  /// Gives the pieces their places in the row: those that one step does the same with follow each other.
  void lay_out();
  /// Pieces of what the decoder has to train, and the places of their gradients in the row.
  void add_pieces(const model::Trainable& trainable);
  void add_weights(const model::Trainable& trainable, std::int64_t at);
  Result<bool> read_begin(kernels::Stream& stream, const model::Trainable& trainable, std::int64_t at);
  Result<bool> allocate(bool average);
  Result<bool> allocate_scratch();
  kernels::Repack repack_of(const Packed& packed, const kernels::Matrix& row) const;
  static kernels::Matrix view(const kernels::Matrix& row, std::int64_t at, std::int64_t rows, std::int64_t cols);
  static kernels::Matrix view(const kernels::Matrix& row, const Piece& piece) {
    return view(row, piece.at, piece.rows, piece.cols);
  }
  kernels::Matrix matrix_of(Row row) const;
  void begin(std::vector<float>& values, std::uint64_t seed) const;

  kernels::Backend& backend_;
  const model::Decoder& decoder_;
  std::vector<model::Module> modules_;  ///< of an adapter; each has two pieces, A and B
  std::vector<std::int64_t> ranks_;     ///< of each of them
  std::vector<Piece> pieces_;
  std::int64_t count_ = 0;
  // Of the row.
  model::Part summed_;   ///< is_summed
  model::Part shared_;   ///< is_summed or is_alike
  model::Part decayed_;  ///< decays
  std::unique_ptr<kernels::Buffer> memory_, scratch_;
  kernels::Matrix values_, gradient_, first_, second_, average_;
  kernels::Matrix squares_;  ///< of the gradient: what ranks share, then this rank's own before it and behind it
  std::vector<Packed> packed_;
  std::vector<Copied> copied_;
  std::vector<model::WeightPtr> weights_;  ///< of an adapter
  model::Adapter adapter_;
  model::Gradients gradients_;
};

}  // namespace orch::train
