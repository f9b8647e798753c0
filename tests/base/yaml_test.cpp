#include "base/yaml.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "reading.h"

using namespace orch;
using namespace orch::test;
using testing::ElementsAre, testing::HasSubstr, testing::IsEmpty, testing::Optional, testing::SizeIs;

namespace {

/// What is said about a text that gives no tree.
std::vector<std::string> refused(std::string_view text, const YamlLimits& limits = {}) {
  Diagnostics diagnostics;
  EXPECT_FALSE(parse_yaml(text, "f.yaml", diagnostics, limits).has_value()) << text.substr(0, 100);
  return lines(diagnostics);
}

/// A folder that goes when the test does.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "orch_yaml_XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::vector<std::string> refused_file(const std::filesystem::path& path) {
  Diagnostics diagnostics;
  EXPECT_FALSE(load_yaml(path, diagnostics).has_value());
  return lines(diagnostics);
}

}  // namespace

TEST(Yaml, KeepsThePlaceOfEveryKeyAndValue) {
  const Yaml root = yaml("name: x\nlist:\n  - a\n  - {k: 'v', n: 3}\nmap:\n    deep: |\n      text\n");
  ASSERT_TRUE(root.is_map());
  ASSERT_THAT(root.entries, SizeIs(3));
  EXPECT_EQ(std::pair(root.line, root.column), std::pair(1, 1));
  EXPECT_EQ(std::pair(root.entries[1].line, root.entries[1].column), std::pair(2, 1));
  const Yaml& list = root.entries[1].value;
  ASSERT_THAT(list.items, SizeIs(2));
  EXPECT_EQ(std::pair(list.items[0].line, list.items[0].column), std::pair(3, 5));
  const Yaml& inline_map = list.items[1];
  EXPECT_EQ(std::pair(inline_map.line, inline_map.column), std::pair(4, 5));
  EXPECT_EQ(std::pair(inline_map.entries[1].line, inline_map.entries[1].column), std::pair(4, 14));
  EXPECT_EQ(std::pair(inline_map.entries[1].value.line, inline_map.entries[1].value.column), std::pair(4, 17));
  const Yaml* deep = root.find("map")->find("deep");
  ASSERT_NE(deep, nullptr);
  EXPECT_EQ(deep->text, "text\n");
  EXPECT_EQ(root.find("nothing"), nullptr);
}

TEST(Yaml, PutsAnEmptyValueAtItsKeyAndCountsColumnsInBytes) {
  const Yaml root = yaml("a:\n\n\nb: 1\né: {ü: x}\n");
  EXPECT_TRUE(root.find("a")->is_null());
  EXPECT_EQ(root.find("a")->line, 1);
  EXPECT_EQ(root.find("é")->find("ü")->column, 10);
}

TEST(Yaml, ReadsScalarsByTheCoreSchema) {
  const auto scalar = [](std::string_view text) { return yaml("v: " + std::string(text)).entries.at(0).value; };
  EXPECT_THAT(scalar("3").integer(), Optional(3));
  EXPECT_THAT(scalar("-3").integer(), Optional(-3));
  EXPECT_THAT(scalar("+3").integer(), Optional(3));
  EXPECT_THAT(scalar("1_000").integer(), Optional(1000));
  EXPECT_THAT(scalar("3").number(), Optional(3.0));
  EXPECT_THAT(scalar("1e3").number(), Optional(1000.0));
  EXPECT_THAT(scalar(".5").number(), Optional(0.5));
  EXPECT_THAT(scalar("-2.5e-1").number(), Optional(-0.25));
  EXPECT_THAT(scalar("true").truth(), Optional(true));
  EXPECT_THAT(scalar("False").truth(), Optional(false));
  for (const char* text : {".nan", ".NaN", ".inf", "-.inf", "nan",   "inf",  "-inf", "infinity", "1e400", "0x10", "0o7",
                           "+-5",  "--5",  "1 2",  "'3'",   "\"3\"", "1__0", "1_",   "x3",       "3x",    "no",   "+"})
    EXPECT_EQ(scalar(text).number(), std::nullopt) << text;
  for (const char* text : {"3.0", "99999999999999999999", "'3'", "+-5", "3e0"})
    EXPECT_EQ(scalar(text).integer(), std::nullopt) << text;
  for (const char* text : {"yes", "no", "on", "off", "y", "'true'", "tRUE"})
    EXPECT_EQ(scalar(text).truth(), std::nullopt) << text;
  for (const char* text : {"~", "null", "NULL", ""}) EXPECT_TRUE(scalar(text).is_null()) << text;
  EXPECT_TRUE(scalar("''").is_scalar());
  EXPECT_TRUE(scalar("'null'").is_scalar());
}

TEST(Yaml, IsDescribedForMessages) {
  const Yaml root = yaml("[3, x, 'true', true, ~, [], {}, \"a\\nb\"]");
  std::vector<std::string> all;
  for (const Yaml& item : root.items) all.push_back(describe(item));
  EXPECT_THAT(all, ElementsAre("the number 3", "the text 'x'", "the text 'true'", "true", "nothing", "a list", "a map",
                               "the text 'a\\nb'"));
}

TEST(Yaml, RefusesAKeyGivenTwiceAndTellsEachWithItsPlace) {
  EXPECT_THAT(refused("a: 1\nb: {c: 1, c: 2}\n\"a\": 3\n"),
              ElementsAre("f.yaml:2:11: the key 'c' is given twice", "f.yaml:3:1: the key 'a' is given twice"));
}

TEST(Yaml, RefusesWhatIsNotYamlWithItsPlace) {
  EXPECT_THAT(refused("a: 1\nb: [1, 2\n"), ElementsAre(HasSubstr("not YAML: end of sequence flow not found")));
  EXPECT_THAT(refused("a: b: c\n"), ElementsAre(HasSubstr("f.yaml:1:5: not YAML")));
  EXPECT_THAT(refused("a: 1\nb: @x\n"), ElementsAre(HasSubstr("f.yaml:2:4: not YAML")));
  EXPECT_THAT(refused("a: *nope\n"), ElementsAre(HasSubstr("f.yaml:1:4: not YAML")));
  EXPECT_THAT(refused("[a]: 1\n"), ElementsAre("f.yaml:1:1: a key must be a text, found a list"));
  EXPECT_THAT(refused("a: 1\n<<: {b: 1}\n"), ElementsAre(HasSubstr("f.yaml:2:1: merge keys ('<<') are not supported")));
  EXPECT_THAT(refused("a: !!python/object:os.system x\n"), ElementsAre(HasSubstr("f.yaml:1:4: the tag ")));
  EXPECT_THAT(refused(""), ElementsAre("f.yaml: is empty"));
  EXPECT_THAT(refused("# only a comment\n"), ElementsAre("f.yaml: is empty"));
}

TEST(Yaml, TakesOneDocumentAndPointsAtASecond) {
  EXPECT_THAT(yaml("---\na: 1\n...\n").entries, SizeIs(1));
  EXPECT_THAT(refused("a: 1\n---\nb: 2\n"),
              ElementsAre("f.yaml:2:1: a second YAML document begins here; only one is expected"));
}

TEST(Yaml, TakesAByteOrderMarkAndRefusesBytesThatAreNotUtf8) {
  EXPECT_THAT(yaml("\xEF\xBB\xBF"
                   "a: 1")
                  .entries.at(0)
                  .key,
              "a");
  EXPECT_THAT(refused("a: 1\nb: é\xFFx\n"), ElementsAre("f.yaml:2:6: not UTF-8 text"));
  EXPECT_THAT(refused("a: 1\nb: \xED\xA0\x80\n"), ElementsAre("f.yaml:2:4: not UTF-8 text"));
  EXPECT_THAT(refused(std::string_view("a: 1\nbc\0: 2", 11)),
              ElementsAre("f.yaml:2:3: holds a NUL byte, so it is not YAML"));
  EXPECT_THAT(refused("\xFF\xFE"
                      "a\0:\0"),
              ElementsAre("f.yaml:1:1: not UTF-8 text"));  // UTF-16
  EXPECT_THAT(refused("a: \"x\\0y\"\n"), ElementsAre("f.yaml:1:4: a text must not hold a NUL character"));
  EXPECT_THAT(refused("a: \"\\ud800\"\n"), ElementsAre(HasSubstr("f.yaml:1:11: not YAML")));
}

TEST(Yaml, IsNotNestedPastItsLimit) {
  const auto flow = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_TRUE(yaml(flow(64)).is_list());
  EXPECT_THAT(refused(flow(65)), ElementsAre("f.yaml:1:65: nested more than 64 deep"));
  EXPECT_THAT(refused(std::string(1 << 20, '[')), ElementsAre("f.yaml:1:1: nested more than 64 deep"));
  EXPECT_THAT(refused("a: 1\nb: " + std::string(1 << 20, '{')), ElementsAre("f.yaml:2:1: nested more than 64 deep"));
  std::string block, dashes, questions;
  for (int i = 0; i < 1000; ++i) block += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  EXPECT_THAT(refused(block), ElementsAre("f.yaml:65:65: nested more than 64 deep"));
  for (int i = 0; i < 300'000; ++i) {
    dashes += "- ";
    questions += "? ";
  }
  EXPECT_THAT(refused(dashes), ElementsAre(HasSubstr("nested more than 64 deep")));
  EXPECT_THAT(refused(questions), ElementsAre(HasSubstr("nested more than 64 deep")));
  EXPECT_THAT(refused("a: &a [1]\nb: [[*a]]", {.most_depth = 3}), ElementsAre("f.yaml:2:6: nested more than 3 deep"));
}

TEST(Yaml, MayHoldBracketsInItsTexts) {
  std::string text = "a: |\n";
  for (int i = 0; i < 1000; ++i) text += "  [{[{\n";
  EXPECT_THAT(yaml(text).entries, SizeIs(1));
}

TEST(Yaml, ExpandsAnAliasToACopyAtItsOwnPlace) {
  const Yaml root = yaml("a: &x {k: 1}\nb: *x\n");
  const Yaml* b = root.find("b");
  ASSERT_TRUE(b->is_map());
  EXPECT_THAT(b->find("k")->integer(), Optional(1));
  EXPECT_EQ(std::pair(b->line, b->column), std::pair(2, 4));
  EXPECT_THAT(refused("a: &x [1, *x]\n"),
              ElementsAre(HasSubstr("f.yaml:1:11: an alias to a value that is not finished")));
}

// Nine lists of nine aliases each are 9^9 values.
TEST(Yaml, RefusesABombOfAliases) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string last = "*a" + std::to_string(i - 1), own = std::to_string(i);
    bomb += "a" + own + ": &a" + own + " [" + last;
    for (int n = 0; n < 8; ++n) bomb += ", " + last;
    bomb += "]\n";
  }
  EXPECT_THAT(refused(bomb), ElementsAre(HasSubstr("alias bomb")));
}

// Few values, much text: 100,000 copies of 64 KiB would be 6 GiB.
TEST(Yaml, RefusesABombOfText) {
  std::string bomb = "a: &a " + std::string(1 << 16, 'x') + "\nb: [";
  for (int i = 0; i < 100'000; ++i) bomb += "*a,";
  EXPECT_THAT(refused(bomb + "]\n"), ElementsAre(HasSubstr("f.yaml:2:")));
  EXPECT_THAT(refused(bomb + "]\n"), ElementsAre(HasSubstr("of text once its aliases are expanded")));
}

TEST(Yaml, RefusesMoreThanItsLimitsAllow) {
  EXPECT_THAT(refused("a: 123456789", {.most_bytes = 10}), ElementsAre("f.yaml: is 12 B; at most 10 B are read"));
  EXPECT_THAT(refused("[1, 2, 3]", {.most_nodes = 3}), ElementsAre(HasSubstr("f.yaml:1:8: more than 3 values")));
  EXPECT_TRUE(yaml("[1, 2]").is_list());
}

// Whatever the bytes are, there is an answer; each run here once cost a parser its stack or its patience.
TEST(Yaml, AnswersToRunsOfAnything) {
  for (const char* unit :
       {"&a ",   "*a ", "!",       "\t",    "\"",         "'",           "a: ",  "|\n",  ">",    "#",   "%",
        "@",     "`",   "---\n",   "...\n", "[,",         "\\",          "!!x ", "\r",   "? \n", ":\n", "-\n",
        "[a]: ", "{[",  "\"a\": ", "é",     "&a a: *a\n", "%YAML 1.2\n", "!<",   "{a: ", "- - "}) {
    std::string text;
    while (text.size() < 50'000) text += unit;
    Diagnostics diagnostics;
    const auto root = parse_yaml(text, "f", diagnostics);
    EXPECT_NE(root.has_value(), !diagnostics.ok()) << unit;
  }
}

TEST(Yaml, FilesThatAreNoneSaySo) {
  const Folder folder;
  EXPECT_THAT(refused_file(folder / "none.yaml"), ElementsAre(HasSubstr("none.yaml: no such file")));
  EXPECT_THAT(refused_file(folder / ""), ElementsAre(HasSubstr("is a folder; a file was expected")));
  EXPECT_THAT(refused_file("/dev/zero"), ElementsAre("/dev/zero: is not a regular file"));
  EXPECT_THAT(refused_file(folder / "none.yaml" / "x"), ElementsAre(HasSubstr("no such file")));
  std::filesystem::create_symlink(folder / "loop", folder / "loop");
  EXPECT_THAT(refused_file(folder / "loop"), ElementsAre(HasSubstr("loop: cannot be read: ")));
}

TEST(Yaml, AFileOfTwoHundredMegabytesIsRefusedUnparsed) {
  const Folder folder;
  std::ofstream(folder / "big.yaml") << "a: 1\n";
  std::filesystem::resize_file(folder / "big.yaml", 200'000'000);
  EXPECT_THAT(refused_file(folder / "big.yaml"),
              ElementsAre(HasSubstr("big.yaml: is larger than 16 MiB, the most that is read")));
}

TEST(Yaml, AFileIsReadWhole) {
  const Folder folder;
  std::ofstream(folder / "f.yaml") << "a: 1\nb: [x]\n";
  Diagnostics diagnostics;
  const auto root = load_yaml(folder / "f.yaml", diagnostics);
  EXPECT_THAT(lines(diagnostics), IsEmpty());
  ASSERT_TRUE(root.has_value());
  EXPECT_THAT(root->entries, SizeIs(2));
}
