// From a data set's rows to what is trained on: token ids, and which of them the model is trained to say.
//
//   row                       | tokens                                             | trained on
//   --------------------------+----------------------------------------------------+------------------------
//   text                      | documents, each ended by EOS, in blocks            | all
//   prompt, completion: texts | both as one text, then EOS                         | the completion and EOS
//   instruction, output       | as a chat; with no template in Alpaca's words, EOS | the output and its end
//   messages                  | as the chat template writes them                   | what the template marks
//   prompt, completion: lists | as the chat template writes them                   | of the completion, that
//   preference                | two samples, of chosen and of rejected             | as above
//   prompt                    | the prompt alone, for the assistant to go on       |
//
// A template marks what the assistant says with {% generation %}. Where one marks nothing, all behind the prompt is
// trained on, as the template writes that for the assistant to go on; of `messages` the prompt is all but the last.
//
// Where a completion begins is decided as TRL does it: prompt and completion are tokenized as one text, and what is no
// token of the prompt's own is the completion's. Where a token covers both, the prompt's tokens are no beginning of the
// whole's; then the completion begins with the first that differs, and of a preference both do where the first of the
// two does: their likelihoods are compared from one place on.
// Texts get the tokens that the tokenizer puts before them; conversations only those that the template writes.
//
// What is too long: samples are cut off at their end, and dropped when nothing that is trained on is left. Of
// preferences the prompt loses its beginning, as much of both as the longer one needs, and only then answers their
// ends; what is the same then is dropped. Prompts lose their beginning. A BOS at the beginning stays: models go astray
// without it (here TRL cuts it off).
//
// Holds:
//  - Every id has its mark, and the first is never trained on: there is nothing that it could be told from.
//  - Every row gives samples, is counted as dropped, or is reported with its line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostics.h"
#include "base/result.h"
#include "model/chat/chat_template.h"
#include "model/tokenizer/tokenizer.h"
#include "train/rows.h"
#include "train/sample.h"

namespace orch::texts {

struct SampleRules {
  std::int64_t sequence = 8192;  ///< longest sample in tokens, at least 2
  std::int64_t prompt = 0;       ///< longest prompt that is to be gone on with; 0: `sequence`
};

using train::Sample;

struct SamplePair {
  Sample chosen, rejected;
};
struct PromptSample {
  std::vector<std::int32_t> ids;
  std::string other;  ///< for the reward: the row's other fields, a JSON object
  int line = 0;
};

struct SampleCounts {
  std::int64_t made = 0;     ///< of pairs, pairs
  std::int64_t cut = 0;      ///< of those, too long
  std::int64_t dropped = 0;  ///< nothing to train on was left of them
  std::int64_t uneven = 0;   ///< a token covers the end of the prompt and the beginning of the completion
  bool operator==(const SampleCounts&) const = default;
};

class SampleMaker {
 public:
  /// `chat`: the model's template, or null; it must outlive this. `file` is what errors call the data set.
  static Result<SampleMaker> make(tokenizer::Tokenizer tokenizer, const model::ChatTemplate* chat,
                                  const SampleRules& rules, std::string file);

  /// Blocks that the document completed; the next one begins with what was left of it.
  std::vector<Sample> text(const train::Row& row, Diagnostics& diagnostics);
  /// The last block, when there are no more documents: what is left, if that is more than one token.
  std::optional<Sample> rest();

  /// Nothing of a row that was dropped or reported.
  std::optional<Sample> instruction(const train::Row& row, Diagnostics& diagnostics);
  std::optional<SamplePair> preference(const train::Row& row, Diagnostics& diagnostics);
  std::optional<PromptSample> prompt(const train::Row& row, Diagnostics& diagnostics);

  const SampleCounts& counts() const { return counts_; }

 private:
  SampleMaker(tokenizer::Tokenizer tokenizer, const model::ChatTemplate* chat, const SampleRules& rules,
              std::string file)
      : tokenizer_(std::move(tokenizer)), chat_(chat), rules_(rules), file_(std::move(file)) {}

  /// What is wrong with a row comes back as an error; `uneven` is set where it is so.
  struct Whole {
    Sample sample;  ///< not cut
    bool uneven = false;
  };
  Result<Whole> whole(const train::Said& prompt, const train::Said& completion, bool every_turn,
                      const std::string& tools) const;
  Result<Whole> plain(const std::string& prompt, const std::string& completion) const;
  Result<Whole> talk(const train::Messages& prompt, const train::Messages& completion, bool every_turn,
                     const std::string& tools) const;
  Result<Whole> of_row(const train::Row& row) const;

  Result<tmpl::Rendered> render(const train::Messages& prompt, const train::Messages& completion,
                                const std::string& tools, bool asks) const;
  /// A text's tokens with those that the tokenizer puts before it, and without those behind.
  Result<std::vector<std::int32_t>> encode_open(const std::string& text) const;
  bool ends(std::int32_t id) const;
  /// Takes tokens from the left, but not a BOS, nor any from `end` on and the one before.
  void cut_left(Sample& sample, std::int64_t count, std::size_t end) const;
  Place place(int line) const { return {file_, line, 1}; }
  /// Counts, and reports what a user should know, once each.
  void note(const Whole& whole, int line, Diagnostics& diagnostics);

  tokenizer::Tokenizer tokenizer_;
  const model::ChatTemplate* chat_;
  SampleRules rules_;
  std::string file_;
  std::size_t closing_ = 0;  ///< tokens that the tokenizer puts behind a text
  SampleCounts counts_;
  Sample block_;  ///< what documents have left so far
};

}  // namespace orch::texts
