// One run of the engine: a tree of tokens through the decoder, step by step, and the memory that steps work in. Only
// the engine's own files include this.
//
// Holds: all that the largest step can want is had before the first one, on all ranks or on none.
#pragma once

#include <algorithm>
#include <optional>

#include "infer/arena.h"
#include "infer/engine.h"
#include "infer/prefix_tree.h"
#include "infer/schedule.h"
#include "infer/step_arrays.h"
#include "model/rope.h"

namespace orch::infer {

/// Rows whose logits of the whole vocabulary are held at a time.
inline constexpr std::int64_t kDrawnTogether = 32;

inline std::size_t at(std::int64_t number) { return static_cast<std::size_t>(number); }

/// How much a step is, or the largest that there can be.
struct StepSize {
  std::int64_t rows = 0, pieces = 0, width = 0, max_length = 0;
  std::int64_t asked = 0,
               targets = 0;  ///< rows with something to be scored, or whose best token is asked; tokens scored
  std::int64_t drawn = 0;    ///< tokens
  bool dynamic = false;      ///< each row has a base of its own

  std::size_t ints() const {
    return at(3 * rows + 2 * pieces + 1 + 3 * pieces * width + 3 * asked + 1 + targets + 3 * drawn) *
           sizeof(std::int32_t);
  }
  std::size_t floats() const { return at((dynamic ? rows : 0) + targets + 3 * drawn) * sizeof(float); }
  std::int64_t drawn_together() const { return std::min(drawn, kDrawnTogether); }
  std::int64_t picked() const { return std::max(asked, drawn_together()); }
};

/// How positions of some texts are told to the decoder, where that depends on how long they are.
struct Engine::Turned {
  bool lengthy = false;
  std::int64_t dynamic = 0;  ///< length by which the base grows; 0: it does not

  auto operator<=>(const Turned&) const = default;
  static Turned of(const model::Rope& rope, std::int64_t length) {
    Turned it;
    it.lengthy = model::is_lengthy(rope, length);
    if (rope.dynamic > 0 && length > rope.trained) it.dynamic = length;
    return it;
  }
};

/// What steps work in. It grows before a run's first step, and is kept from run to run.
class Engine::Memory {
 public:
  explicit Memory(kernels::Backend& backend) : backend_(backend) {}

  struct Place {
    std::unique_ptr<kernels::Buffer> buffer;
    template <class T>
    T* as() const {
      return static_cast<T*>(buffer->data);
    }
  };
  Place ints, floats, hidden, picked, logits, scratch;
  std::vector<kernels::KvCache> caches;
  std::int32_t pages = 0;

  /// What stood there is lost.
  Result<bool> grow(Place& place, std::size_t bytes, std::string_view what) {
    if (place.buffer && place.buffer->bytes >= bytes) return true;
    place.buffer.reset();
    auto made = backend_.allocate(std::max<std::size_t>(bytes, 256), what);
    if (!made) return made.error();
    place.buffer = *std::move(made);
    return true;
  }

  /// As many pages of each layer as can be had, of those that are wanted.
  Result<bool> grow_cache(const kernels::KvShape& shape, std::int64_t layers, std::int64_t wanted) {
    if (pages >= wanted) return true;
    caches.clear();
    held_.clear();
    for (std::int64_t count = wanted;; count /= 2) {
      pages = static_cast<std::int32_t>(count);
      std::optional<Error> full;
      for (std::int64_t layer = 0; layer < layers && !full; ++layer) {
        auto made = backend_.allocate(backend_.page_bytes(shape) * at(count), "the KV cache");
        if (made)
          held_.push_back(*std::move(made));
        else
          full = made.error();
      }
      if (!full) break;
      held_.clear();
      pages = 0;
      if (count <= 1) return *full;
    }
    for (const auto& buffer : held_) caches.push_back({shape, buffer->data, pages});
    return true;
  }

 private:
  kernels::Backend& backend_;
  std::vector<std::unique_ptr<kernels::Buffer>> held_;
};

/// One tree through the decoder. What is asked of its rows is said before go(), what came of it is read after it.
class Engine::Run {
 public:
  /// A token whose likelihood is asked at a row of a node.
  struct Target {
    std::int64_t row = 0;
    std::int32_t token = 0;
    std::size_t result = 0;
  };
  struct Found {
    float logprob = 0;
    std::int32_t is_best = 0;
  };
  /// A sequence of the tree that is continued.
  struct Text {
    const WriteRequest* request = nullptr;
    std::size_t number = 0;            ///< the caller's, for IsOver
    std::vector<std::int32_t> tokens;  ///< all that were written, in earlier runs too
    std::size_t before = 0;            ///< in earlier runs
    bool is_over = false;
  };

  Run(Engine& engine, const PrefixTree& tree, Turned turned) : engine_(engine), tree_(tree), turned_(turned) {}

  std::vector<std::vector<Target>> targets;  ///< of each node, by row; or none at all
  std::vector<Found> results;
  std::vector<Text> texts;         ///< one for each sequence of the tree, or none at all
  std::vector<std::int64_t> room;  ///< of each sequence
  const IsOver* is_over = nullptr;

  Result<bool> go();
  /// go() failed for want of memory.
  bool was_full() const { return full_; }

 private:
  /// What one step asks of its rows.
  struct Asked {
    std::vector<std::int32_t> rows, starts{0}, tokens;
    std::vector<std::size_t> results;
    std::vector<std::int32_t> greedy;             ///< texts; their rows are the last of `rows`
    std::vector<std::int32_t> drawn, drawn_rows;  ///< texts, and the row of each
  };
  Asked asked_of(std::span<const Piece> pieces, const StepArrays& arrays) const;
  /// Tokens that a step gave texts: the last stage knows them first.
  struct Chosen {
    std::vector<std::int32_t> texts, tokens;
  };
  Result<Chosen> step(std::span<const Piece> pieces, const Schedule& schedule);
  void take(const Chosen& chosen, Schedule& schedule);

  StepSize largest_step() const;
  /// What the size takes, of each place its bytes.
  template <class F>
  void each_place(const StepSize& size, F&& f) const;
  /// Pages of the cache, as many as all ranks have, when each has all that the steps want.
  Result<std::int32_t> reserve();

  Engine& engine_;
  const PrefixTree& tree_;
  const Turned turned_;
  bool full_ = false;
  LastTokens last_;
  kernels::Matrix hidden_;  ///< of the step that was computed last: what the next stage goes on with
  // Of the step that runs: the backend reads them until it has been waited for.
  Arena<std::int32_t> ints_;
  Arena<float> floats_;
};

}  // namespace orch::infer
