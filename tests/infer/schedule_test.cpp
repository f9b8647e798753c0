#include "infer/schedule.h"

#include <gmock/gmock.h>

#include <deque>
#include <map>
#include <random>
#include <set>

namespace orch::infer {
namespace {

using Sequences = std::vector<std::vector<std::int32_t>>;

TEST(PrefixTree, HoldsWhatSequencesShareOnce) {
  // One few-shot prefix, two questions, answers behind them, and a sequence that is the beginning of another.
  const Sequences sequences = {{1, 2, 3, 4, 5}, {1, 2, 3, 4, 6}, {1, 2, 7}, {1, 2, 7}, {1, 2}, {9}};
  const PrefixTree tree(sequences);
  EXPECT_EQ(tree.tokens(), 2 + 2 + 1 + 1 + 1 + 1);
  ASSERT_EQ(tree.nodes().size(), 6U);
  EXPECT_EQ(tree.nodes()[0].tokens, (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(tree.nodes()[0].sequences, (std::vector<std::int32_t>{4}));
  EXPECT_EQ(tree.nodes()[0].end, 5);
  EXPECT_EQ(tree.nodes()[1].tokens, (std::vector<std::int32_t>{3, 4}));
  EXPECT_EQ(tree.nodes()[1].begin, 2);
  EXPECT_EQ(tree.end_of(2), tree.end_of(3));
  EXPECT_EQ(tree.nodes()[5].tokens, (std::vector<std::int32_t>{9}));
}

Sequences random_sequences(std::mt19937& random, int count) {
  Sequences sequences;
  for (int i = 0; i < count; ++i) {
    std::vector<std::int32_t> sequence;
    // Half of them go on from the beginning of an earlier one.
    if (i > 0 && random() % 2 == 0) {
      const auto& other = sequences[random() % sequences.size()];
      sequence.assign(other.begin(), other.begin() + static_cast<std::ptrdiff_t>(random() % other.size()));
    }
    for (std::size_t n = 1 + random() % 30; n > 0; --n) sequence.push_back(static_cast<std::int32_t>(random() % 3));
    sequences.push_back(sequence);
  }
  return sequences;
}

TEST(PrefixTree, GivesEverySequenceBackAlongItsPath) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    const Sequences sequences = random_sequences(random, 1 + static_cast<int>(random() % 40));
    const PrefixTree tree(sequences);
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      std::vector<std::int32_t> path;
      for (std::int32_t n = tree.end_of(s); n != kNoNode; n = tree.nodes()[static_cast<std::size_t>(n)].parent) {
        const PrefixNode& node = tree.nodes()[static_cast<std::size_t>(n)];
        EXPECT_LT(node.parent, n);
        path.insert(path.begin(), node.tokens.begin(), node.tokens.end());
        EXPECT_EQ(node.begin + static_cast<std::int64_t>(node.tokens.size()), node.length());
      }
      EXPECT_EQ(path, sequences[s]);
    }
  }
}

/// Plays the engine: checks that everything is computed once and in order, and that no page has two owners.
void play(const Sequences& sequences, const std::vector<std::int64_t>& room, const ScheduleRules& rules,
          std::mt19937& random) {
  const PrefixTree tree(sequences);
  auto made = Schedule::make(tree, room, rules);
  ASSERT_TRUE(made) << made.error().what;
  Schedule schedule = *std::move(made);
  std::vector<std::int64_t> computed(tree.nodes().size()), written(room.size());
  std::vector<bool> over(room.size());
  std::deque<std::vector<std::int32_t>> flying;  // sequences whose tokens are not known yet, by step
  std::set<std::int32_t> unknown;
  for (int steps = 0;; ++steps) {
    ASSERT_LT(steps, 100'000);
    if (flying.size() == static_cast<std::size_t>(rules.flights)) {
      for (const std::int32_t sequence : flying.front()) {
        unknown.erase(sequence);
        const auto s = static_cast<std::size_t>(sequence);
        if (random() % 10 == 0 && room[s] > 0) {
          schedule.finish_writing(sequence);
          over[s] = true;
        } else {
          schedule.know(sequence);
        }
      }
      flying.pop_front();
    }
    const std::vector<Piece> step = schedule.next();
    if (step.empty() && !schedule.waits()) break;
    flying.emplace_back();
    std::int64_t tokens = 0;
    std::map<std::int32_t, std::int32_t> owner;
    for (const Piece& piece : step) {
      tokens += piece.count;
      // Its ancestors are computed and still in their pages.
      const PrefixNode& node = tree.nodes()[static_cast<std::size_t>(piece.node)];
      for (std::int32_t n = piece.writing >= 0 ? piece.node : node.parent; n != kNoNode;
           n = tree.nodes()[static_cast<std::size_t>(n)].parent) {
        const PrefixNode& above = tree.nodes()[static_cast<std::size_t>(n)];
        ASSERT_EQ(computed[static_cast<std::size_t>(n)], static_cast<std::int64_t>(above.tokens.size()));
        ASSERT_GE(static_cast<std::int64_t>(schedule.node_pages(n).size()) * rules.page_tokens,
                  computed[static_cast<std::size_t>(n)]);
        for (const std::int32_t page : schedule.node_pages(n)) ASSERT_EQ(owner.try_emplace(page, n).first->second, n);
      }
      if (piece.writing >= 0) {
        ASSERT_FALSE(over[static_cast<std::size_t>(piece.writing)]);
        ASSERT_FALSE(unknown.contains(piece.writing)) << "its last token is not known yet";
        ASSERT_EQ(++written[static_cast<std::size_t>(piece.writing)], schedule.written(piece.writing));
        const std::int32_t mark = -2 - piece.writing;
        for (const std::int32_t page : schedule.written_pages(piece.writing))
          ASSERT_EQ(owner.try_emplace(page, mark).first->second, mark);
        ASSERT_GE(static_cast<std::int64_t>(schedule.written_pages(piece.writing).size()) * rules.page_tokens,
                  schedule.written(piece.writing));
      } else {
        ASSERT_EQ(piece.from, computed[static_cast<std::size_t>(piece.node)]);
        for (const std::int32_t page : schedule.node_pages(piece.node))
          ASSERT_EQ(owner.try_emplace(page, piece.node).first->second, piece.node);
      }
    }
    ASSERT_LE(tokens, rules.max_tokens);
    ASSERT_LE(static_cast<std::int64_t>(step.size()), rules.max_sequences);
    for (const Piece& piece : step) {
      const auto draws = [&](std::int32_t sequence) {
        flying.back().push_back(sequence);
        unknown.insert(sequence);
      };
      if (piece.writing < 0) {
        std::int64_t& done = computed[static_cast<std::size_t>(piece.node)];
        done += piece.count;
        const PrefixNode& node = tree.nodes()[static_cast<std::size_t>(piece.node)];
        if (done == static_cast<std::int64_t>(node.tokens.size()))
          for (const std::int32_t sequence : node.sequences) draws(sequence);
        continue;
      }
      const auto s = static_cast<std::size_t>(piece.writing);
      over[s] = over[s] || written[s] == room[s];
      draws(piece.writing);
    }
  }
  for (std::size_t n = 0; n < computed.size(); ++n)
    EXPECT_EQ(computed[n], static_cast<std::int64_t>(tree.nodes()[n].tokens.size()));
  for (std::size_t s = 0; s < room.size(); ++s) EXPECT_EQ(over[s], room[s] > 0);
  EXPECT_EQ(schedule.free_pages(), rules.pages);
}

TEST(Schedule, ComputesEverythingOnceWhateverTheRoom) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const Sequences sequences = random_sequences(random, 1 + static_cast<int>(random() % 30));
    std::vector<std::int64_t> room;
    for (std::size_t s = 0; s < sequences.size(); ++s)
      room.push_back(random() % 2 ? static_cast<std::int64_t>(random() % 40) : 0);
    ScheduleRules rules;
    rules.page_tokens = 1 + static_cast<int>(random() % 16);
    rules.max_tokens = 1 + static_cast<std::int64_t>(random() % 64);
    rules.max_sequences = 1 + static_cast<std::int64_t>(random() % 16);
    rules.flights = 1 + static_cast<int>(random() % 4);
    // As few pages as one path may need at all, or some more.
    const PrefixTree tree(sequences);
    const auto fits = [&](std::int32_t pages) {
      rules.pages = pages;
      return Schedule::make(tree, room, rules).ok();
    };
    std::int32_t least = 1;
    while (!fits(least)) ++least;
    rules.pages = least + static_cast<std::int32_t>(random() % 3 * 5);
    play(sequences, room, rules, random);
    if (testing::Test::HasFailure()) FAIL() << "round " << round;
  }
}

// Of a pipeline: while some texts' tokens are on their way, others are computed.
TEST(Schedule, SpreadsWhatIsWrittenOverTheStepsThatAreOnTheirWay) {
  const Sequences sequences = {{1}, {2}, {3}, {4}, {5}, {6}};
  const PrefixTree tree(sequences);
  ScheduleRules rules;
  rules.pages = 100;
  rules.flights = 2;
  const std::vector<std::int64_t> room(sequences.size(), 5);
  Schedule schedule = *Schedule::make(tree, room, rules);
  const auto written = [&] {
    std::vector<std::int32_t> texts;
    for (const Piece& piece : schedule.next()) texts.push_back(piece.writing);
    return texts;
  };
  EXPECT_EQ(schedule.next().size(), 6U) << "their beginnings";
  EXPECT_TRUE(schedule.next().empty());
  EXPECT_TRUE(schedule.waits());
  for (std::int32_t text = 0; text < 6; ++text) schedule.know(text);
  EXPECT_EQ(written(), (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(written(), (std::vector<std::int32_t>{3, 4, 5}));
  for (std::int32_t text = 0; text < 3; ++text) schedule.know(text);
  EXPECT_EQ(written(), (std::vector<std::int32_t>{0, 1, 2})) << "while the others are on their way";
  schedule.finish_writing(3);
  for (const std::int32_t text : {4, 5}) schedule.know(text);
  EXPECT_EQ(written(), (std::vector<std::int32_t>{4, 5}));
}

TEST(Schedule, RefusesWhatCanNeverFit) {
  const Sequences sequences = {{1, 2, 3, 4, 5}};
  const PrefixTree tree(sequences);
  ScheduleRules rules;
  rules.page_tokens = 2;
  rules.pages = 4;
  const std::vector<std::int64_t> room = {3};
  const auto made = Schedule::make(tree, room, rules);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().what, testing::HasSubstr("10 tokens of the KV cache, which holds 8"));
}

TEST(Schedule, ReadsASharedBeginningBeforeWhatStandsBehindIt) {
  const Sequences sequences = {{1, 2, 3, 4}, {1, 2, 3, 5}, {1, 2, 3, 6}};
  const PrefixTree tree(sequences);
  ScheduleRules rules;
  rules.pages = 10;
  const std::vector<std::int64_t> room(3, 0);
  Schedule schedule = *Schedule::make(tree, room, rules);
  EXPECT_EQ(schedule.next().size(), 1U);
  EXPECT_EQ(schedule.next().size(), 3U);
  EXPECT_TRUE(schedule.next().empty());
}

}  // namespace
}  // namespace orch::infer
