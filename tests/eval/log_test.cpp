#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "eval/sample_log.h"
#include "import.h"

namespace orch::eval {
namespace {

using test::TemporaryFolder;
using testing::HasSubstr;

const RunHead kHead{"sums", "abc", 3};

SampleScore choice_sample(std::uint64_t sample) {
  return {sample,
          {{{sample, 0}, Likelihood{-0.1 * static_cast<double>(sample) - 1.0 / 3, true, 2}},
           {{sample, 1}, Likelihood{-INFINITY, false, 7}}},
          {},
          {1, std::nan("")}};
}

SampleScore text_sample(std::uint64_t sample) {
  return {sample, {{{sample, 0}, Generated{"4\n\"é\"", 3}}}, {{"4"}, {"[invalid]"}}, {1, 0}};
}

std::string content(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

SampleLog opened(const std::filesystem::path& file) {
  auto log = SampleLog::open(file, kHead);
  if (!log) throw std::runtime_error(log.error().what);
  return std::move(*log);
}

TEST(SampleLogs, GiveBackTheVeryNumbersThatWereWritten) {
  for (const SampleScore& sample : {choice_sample(2), text_sample(1)}) {
    const auto read = parse_log_line(log_line(sample));
    ASSERT_TRUE(read) << read.error().what;
    EXPECT_EQ(log_line(*read), log_line(sample));
  }
  const auto read = parse_log_line(log_line(choice_sample(2)));
  EXPECT_EQ(std::get<Likelihood>(read->answers[0].what).logprob, -0.1 * 2.0 - 1.0 / 3);
  EXPECT_TRUE(std::isinf(std::get<Likelihood>(read->answers[1].what).logprob));
  EXPECT_TRUE(std::isnan(read->scores[1]));
}

TEST(SampleLogs, KnowAfterARestartWhatWasScored) {
  TemporaryFolder folder;
  const std::vector<SampleScore> two{choice_sample(2), choice_sample(0)};
  {
    SampleLog log = opened(folder / "log.jsonl");
    EXPECT_TRUE(log.append(two));
  }
  SampleLog log = opened(folder / "log.jsonl");
  ASSERT_EQ(log.samples().size(), 2u);
  EXPECT_EQ(log.samples()[0].sample, 2u);
  EXPECT_TRUE(log.has(0));
  EXPECT_FALSE(log.has(1));
  const std::string before = content(folder / "log.jsonl");
  EXPECT_TRUE(log.append(two));  // they are there already
  EXPECT_EQ(content(folder / "log.jsonl"), before);
}

TEST(SampleLogs, LoseATornEndWhereverItIsTornAndNothingElse) {
  TemporaryFolder folder;
  const auto file = folder / "log.jsonl";
  const std::vector<SampleScore> samples{choice_sample(0), text_sample(1), choice_sample(2)};
  EXPECT_TRUE(opened(file).append(samples));
  const std::string whole = content(file);
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    std::ofstream(file, std::ios::trunc) << whole.substr(0, size);
    SampleLog log = opened(file);
    const auto ends = std::count(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size), '\n');
    EXPECT_EQ(log.samples().size(), static_cast<std::size_t>(std::max<std::ptrdiff_t>(ends - 1, 0)));
    EXPECT_TRUE(log.append(samples));
    EXPECT_EQ(content(file), whole);
  }
}

TEST(SampleLogs, OfAnotherRunAreRefused) {
  TemporaryFolder folder;
  opened(folder / "log.jsonl");
  const auto other = SampleLog::open(folder / "log.jsonl", {"sums", "abd", 3});
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().what, HasSubstr("is the log of another run"));
}

TEST(SampleLogs, ThatWereTamperedWithSayWhere) {
  TemporaryFolder folder;
  opened(folder / "log.jsonl");
  std::ofstream(folder / "log.jsonl", std::ios::app) << "{\"sample\": \"x\"}\n";
  const auto log = SampleLog::open(folder / "log.jsonl", kHead);
  ASSERT_FALSE(log);
  EXPECT_THAT(log.error().what, HasSubstr("log.jsonl:2: no line of a sample"));
}

TEST(Chunks, AreEverySampleOnceAndAsEqualAsGoes) {
  for (const std::uint64_t samples : {0U, 1U, 7U, 14'042U})
    for (const std::uint32_t chunks : {1U, 2U, 7U, 100U}) {
      std::uint64_t next = 0;
      for (std::uint32_t number = 0; number < chunks; ++number) {
        const SampleRange range = chunk_of(samples, number, chunks);
        EXPECT_EQ(range.first, next);
        EXPECT_LE(range.count, samples / chunks + 1);
        EXPECT_GE(range.count, samples / chunks);
        next += range.count;
      }
      EXPECT_EQ(next, samples);
    }
}

TEST(SampleLogs, PutARunTogetherWhateverItsChunks) {
  Task task = test::shipped_task("boolq");
  std::vector<Document> documents;
  std::mt19937 random(5);
  std::vector<SampleScore> samples;
  for (int i = 0; i < 60; ++i)
    documents.push_back({{"passage", "p"},
                         {"question", "q"},
                         {"label", i % 2},
                         {"part", std::string(1, static_cast<char>('a' + i % 7))}});
  task.group_by = "part";
  const auto evaluation = Evaluation::make(task, documents, {}, {});
  for (std::uint64_t i = 0; i < documents.size(); ++i) {
    const auto drawn = [&] { return -static_cast<double>(random() % 1000) / 7; };
    samples.push_back(
        *evaluation->score(i, {{{i, 0}, Likelihood{drawn(), false, 1}}, {{i, 1}, Likelihood{drawn(), false, 1}}}));
  }
  const auto whole = evaluation->summary(samples);
  ASSERT_TRUE(whole);
  for (int round = 0; round < 5; ++round) {
    TemporaryFolder folder;
    std::shuffle(samples.begin(), samples.end(), random);
    std::vector<SampleScore> together;
    for (std::size_t from = 0, chunk = 0; from < samples.size(); ++chunk) {
      const std::size_t size = std::min<std::size_t>(1 + random() % 9, samples.size() - from);
      const auto file = folder / ("chunk" + std::to_string(chunk));
      EXPECT_TRUE(opened(file).append(std::span(samples).subspan(from, size)));
      const SampleLog read = opened(file);
      together.insert(together.end(), read.samples().begin(), read.samples().end());
      from += size;
    }
    const auto again = evaluation->summary(together);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->rows[0].parts, whole->rows[0].parts);
  }
}

}  // namespace
}  // namespace orch::eval
