#include "base/fields.h"

#include "reading.h"

using namespace orch;
using namespace orch::test;
using testing::ElementsAre, testing::HasSubstr, testing::IsEmpty, testing::Optional;

namespace {

/// What is said when ask(fields) reads the snippet.
template <class Ask>
std::vector<std::string> said(std::string_view text, Ask ask) {
  return problems(text, [&](const Yaml& root, const std::string& file, Diagnostics& diagnostics) {
    Fields fields(root, file, "a thing", diagnostics);
    ask(fields);
  });
}

}  // namespace

TEST(Fields, ReadEachTypeByItsName) {
  EXPECT_THAT(said("{t: x, n: a/b-1, y: true, i: 3, d: 2.5, c: 7B, b: 80GiB, s: 1h, l: [a, b], o: one, w: 2k, r: "
                   "25GB/s, e: FOO}",
                   [](Fields& f) {
                     EXPECT_THAT(f.text("t"), Optional(std::string("x")));
                     EXPECT_THAT(f.name("n"), Optional(std::string("a/b-1")));
                     EXPECT_THAT(f.truth("y"), Optional(true));
                     EXPECT_THAT(f.integer("i", 1, 3), Optional(3LL));
                     EXPECT_THAT(f.number("d", 0, 3), Optional(2.5));
                     EXPECT_THAT(f.count("c"), Optional(7e9));
                     EXPECT_THAT(f.bytes("b"), Optional(80 * 1073741824.0));
                     EXPECT_THAT(f.duration("s"), Optional(3600.0));
                     EXPECT_THAT(f.texts("l"), Optional(ElementsAre("a", "b")));
                     EXPECT_THAT(f.texts("t"), Optional(ElementsAre("x")));
                     EXPECT_THAT((f.choice<int>("o", {{"one", 1}, {"two", 2}})), Optional(1));
                     EXPECT_THAT(f.whole("w", 0, 2000), Optional(2000));
                     EXPECT_THAT(f.rate("r"), Optional(25e9));
                     EXPECT_EQ(f.text("absent"), std::nullopt);
                     f.text("e");
                     f.finish();
                   }),
              IsEmpty());
}

TEST(Fields, SayWhatWasExpectedAndWhatWasFoundAtItsPlace) {
  const auto one = [](std::string_view value, auto ask) {
    const auto all = said("k: " + std::string(value) + "\n", [&](Fields& f) { EXPECT_FALSE(ask(f).has_value()); });
    EXPECT_EQ(all.size(), 1u) << value;
    return all.empty() ? "" : all.front();
  };
  EXPECT_EQ(one("[1]", [](Fields& f) { return f.text("k"); }), "f.yaml:1:4: 'k' must be a text, found a list");
  EXPECT_EQ(one("'yes'", [](Fields& f) { return f.truth("k"); }),
            "f.yaml:1:4: 'k' must be true or false, found the text 'yes'");
  EXPECT_EQ(one("9", [](Fields& f) { return f.integer("k", 1, 8); }),
            "f.yaml:1:4: 'k' must be a whole number from 1 to 8, found the number 9");
  EXPECT_EQ(one("1.5", [](Fields& f) { return f.integer("k", 1, 8); }),
            "f.yaml:1:4: 'k' must be a whole number from 1 to 8, found the number 1.5");
  EXPECT_EQ(one(".nan", [](Fields& f) { return f.number("k", 0, 1); }),
            "f.yaml:1:4: 'k' must be a number from 0 to 1, found the text '.nan'");
  EXPECT_EQ(one("-0.5", [](Fields& f) { return f.number("k", 0, 1); }),
            "f.yaml:1:4: 'k' must be a number from 0 to 1, found the number -0.5");
  EXPECT_EQ(
      one("90", [](Fields& f) { return f.duration("k"); }),
      "f.yaml:1:4: 'k' must be a duration with its unit, such as 90s, 30min, 20h or 1-12:00:00, found the number 90");
  EXPECT_EQ(
      one("1GB", [](Fields& f) { return f.bytes("k", 2e9); }),
      "f.yaml:1:4: 'k' must be an amount of memory such as 80GiB or 256G, at least 1.86 GiB, found the text '1GB'");
  EXPECT_EQ(one("9e9", [](Fields& f) { return f.count("k"); }),
            "f.yaml:1:4: 'k' must be a count such as 70.6B, 360M or 1200, found the number 9e9");
  EXPECT_EQ(one("11", [](Fields& f) { return f.count("k", 0, 10); }),
            "f.yaml:1:4: 'k' must be a count such as 70.6B, 360M or 1200, at most 10, found the number 11");
  EXPECT_EQ(one("1.5", [](Fields& f) { return f.whole("k", 1, 8); }),
            "f.yaml:1:4: 'k' must be a whole number from 1 to 8, found the number 1.5");
  EXPECT_EQ(one("400Gb/s", [](Fields& f) { return f.rate("k"); }),
            "f.yaml:1:4: 'k' must be bytes a second such as 3.35TB/s or 400Gbit/s, found the text '400Gb/s'");
  EXPECT_EQ(one("{a: 1}", [](Fields& f) { return f.texts("k"); }),
            "f.yaml:1:4: 'k' must be a list of texts, found a map");
  EXPECT_EQ(one("'a b'",
                [](Fields& f) {
                  const auto name = f.name("k");
                  return name;
                }),
            "f.yaml:1:4: 'k' must be a name of letters, digits and _ . - : / +, at most 200 long; found 'a b'");
  EXPECT_EQ(one("twp",
                [](Fields& f) {
                  return f.choice<int>("k", {{"one", 1}, {"two", 2}});
                }),
            "f.yaml:1:4: 'k' must be one of one, two; found the text 'twp'; did you mean 'two'?");
}

TEST(Fields, FindNothingInAKeyWithoutAValueAndPointAtTheKey) {
  EXPECT_THAT(said("a: 1\nk:\nz: 2\n", [](Fields& f) { EXPECT_EQ(f.text("k"), std::nullopt); }),
              ElementsAre("f.yaml:2:1: 'k' must be a text, found nothing"));
}

TEST(Fields, PointAtTheItemOfAListThatIsWrong) {
  EXPECT_THAT(said("k:\n  - a\n  - [b]\n", [](Fields& f) { EXPECT_THAT(f.texts("k"), Optional(ElementsAre("a"))); }),
              ElementsAre("f.yaml:3:5: 'k' must be a list of texts, found a list"));
}

TEST(Fields, MissOnlyWhatIsRequired) {
  EXPECT_THAT(said("a: 1",
                   [](Fields& f) {
                     f.require("b");
                     f.get("c");
                   }),
              ElementsAre("f.yaml:1:1: a thing needs the key 'b'"));
}

TEST(Fields, TellOfAKeyThatNobodyAskedForWithTheNearestOrAllThatAre) {
  EXPECT_THAT(said("{modles: 1, zzzz: 2, tasks: 3}",
                   [](Fields& f) {
                     f.get("tasks");
                     f.get("models");
                     f.finish();
                   }),
              ElementsAre("f.yaml:1:2: a thing has no key 'modles'; did you mean 'models'?",
                          "f.yaml:1:13: a thing has no key 'zzzz'; it takes models, tasks"));
}

TEST(Fields, OfSomethingThatIsNoMapAreEmptyAndTellItOnce) {
  for (const char* text : {"[1]", "x"}) {
    const auto all = said(text, [](Fields& f) {
      EXPECT_FALSE(f.is_map());
      EXPECT_EQ(f.require("a"), nullptr);
      EXPECT_EQ(f.text("b"), std::nullopt);
      f.finish();
    });
    EXPECT_THAT(all, ElementsAre(HasSubstr("f.yaml:1:1: a thing must be a map of keys, found"))) << text;
  }
}

TEST(Fields, WithAHostOfUnknownKeysCostNoSearchEach) {
  std::string text;
  for (int i = 0; i < 30'000; ++i) text += "k" + std::to_string(i) + ": 1\n";
  Diagnostics diagnostics;
  const Yaml root = yaml(text);
  Fields fields(root, "f", "a thing", diagnostics);
  for (int i = 0; i < 50; ++i) fields.get("known_key_number_" + std::to_string(i));
  fields.finish();
  EXPECT_EQ(diagnostics.error_count(), 30'000u);
}

TEST(Fields, NamesHoldNothingThatAShellOrAPathWouldMind) {
  EXPECT_TRUE(is_name("meta-llama/Llama-3.1-70B:main+x_1"));
  for (const char* bad : {"", "a b", "a'b", "a\nb", "$(x)", "a;b", "é", "a*", "a\"", "a\\"})
    EXPECT_FALSE(is_name(bad)) << bad;
  for (const char* id : {"s1", "j12", "c0"}) EXPECT_TRUE(reads_as_id(id)) << id;
  for (const char* name : {"s", "s1a", "sweep1", "x1", "1", ""}) EXPECT_FALSE(reads_as_id(name)) << name;
  EXPECT_TRUE(is_name(std::string(200, 'a')));
  EXPECT_FALSE(is_name(std::string(201, 'a')));
}
