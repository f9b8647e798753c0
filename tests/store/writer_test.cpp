#include "store/writer.h"

#include <gmock/gmock.h>

#include "store/place.h"

namespace orch::store {
namespace {

using namespace control;
using test::Place;
using testing::IsEmpty, testing::SizeIs;

Effects numbered(std::uint32_t number) {
  Effects effects;
  effects.changes.emplace_back(row::Note{Utc{}, "test", number, -1, -1, ""});
  effects.actions.emplace_back(action::Submit{JobId{number}});
  return effects;
}

/// Nothing can be leased where there is no cell.
Effects impossible() {
  Effects effects;
  effects.changes.emplace_back(row::PutLease{{CellId{5}, 0}, JobId{1}, Epoch{1}, Ticket{1}});
  effects.actions.emplace_back(action::Submit{JobId{999}});
  return effects;
}

TEST(Writer, ActsInTheOrderGivenAndOnlyOnWhatIsCommitted) {
  const Place place;
  const auto store = place.open();
  std::vector<std::uint32_t> done;
  bool early = false;
  constexpr std::uint32_t kMany = 500;
  {
    Writer writer(
        *store,
        [&](std::vector<Action> actions) {
          for (const Action& action : actions)
            done.push_back(static_cast<std::uint32_t>(std::get<action::Submit>(action).job));
          early = early || store->events(0, kMany).size() < done.size();
        },
        [](const std::string& why) { ADD_FAILURE() << why; });
    for (std::uint32_t i = 0; i < kMany / 2; ++i) writer.put(numbered(i));
    EXPECT_TRUE(writer.flush());
    EXPECT_THAT(done, SizeIs(kMany / 2));
    for (std::uint32_t i = kMany / 2; i < kMany; ++i) writer.put(numbered(i));
  }  // what it was given is committed before it ends
  ASSERT_THAT(done, SizeIs(kMany));
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
  EXPECT_FALSE(early);
  const auto events = store->events(0, 2 * kMany);
  ASSERT_THAT(events, SizeIs(kMany));
  for (std::uint32_t i = 0; i < kMany; ++i) EXPECT_EQ(events[i].note.sweep, i);
}

TEST(Writer, CommitsNothingAfterACommitThatFailed) {
  const Place place;
  const auto store = place.open();
  std::vector<std::string> failures;
  std::vector<Action> done;
  Writer writer(
      *store, [&](std::vector<Action> actions) { done.insert(done.end(), actions.begin(), actions.end()); },
      [&](const std::string& why) { failures.push_back(why); });
  writer.put(numbered(1));
  EXPECT_TRUE(writer.flush());
  writer.put(impossible());
  EXPECT_FALSE(writer.flush());
  writer.put(numbered(2));
  EXPECT_FALSE(writer.flush());
  ASSERT_THAT(failures, SizeIs(1));
  EXPECT_THAT(failures[0], testing::HasSubstr(place.database().string()));
  EXPECT_THAT(done, SizeIs(1));
  EXPECT_THAT(store->events(0, 10), SizeIs(1));
}

TEST(Writer, WithNothingToDoIsFlushedAtOnce) {
  const Place place;
  const auto store = place.open();
  Writer writer(
      *store, [](std::vector<Action>) { ADD_FAILURE(); }, [](const std::string&) { ADD_FAILURE(); });
  EXPECT_TRUE(writer.flush());
  EXPECT_THAT(store->events(0, 10), IsEmpty());
}

}  // namespace
}  // namespace orch::store
