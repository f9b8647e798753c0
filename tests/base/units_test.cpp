#include "base/units.h"

#include <gmock/gmock.h>

#include <limits>

using namespace orch;
using testing::Optional;

TEST(Units, CountsAreInThousands) {
  EXPECT_THAT(parse_count("12"), Optional(12.0));
  EXPECT_THAT(parse_count("70.6B"), Optional(70.6e9));
  EXPECT_THAT(parse_count("360M"), Optional(360e6));
  EXPECT_THAT(parse_count("2k"), Optional(2000.0));
  EXPECT_THAT(parse_count("989T"), Optional(989e12));
  EXPECT_THAT(parse_count("1.5g"), Optional(1.5e9));
  EXPECT_THAT(parse_count("1_000_000"), Optional(1e6));
  EXPECT_THAT(parse_count(" 7 B "), Optional(7e9));
}

TEST(Units, CountsAreNothingElse) {
  for (const char* text : {"",    " ",    "-1",  "+1", ".",  "B",    "1.2.3", "1e9",   "0x10", "nan",
                           "inf", ".inf", "1KB", "1_", "_1", "1__0", "1_k",   "1,000", "7BB",  "1 2"})
    EXPECT_EQ(parse_count(text), std::nullopt) << text;
  EXPECT_EQ(parse_count(std::string(400, '9')), std::nullopt);
  EXPECT_EQ(parse_count(std::string(300, '9') + "T"), std::nullopt);
  EXPECT_THAT(parse_count("0." + std::string(1 << 20, '0')), Optional(0.0));
}

TEST(Units, BytesAreDecimalOrBinaryAsWritten) {
  EXPECT_THAT(parse_bytes("80GB"), Optional(80e9));
  EXPECT_THAT(parse_bytes("80GiB"), Optional(80.0 * 1024 * 1024 * 1024));
  EXPECT_THAT(parse_bytes("256G"), Optional(256.0 * 1024 * 1024 * 1024));
  EXPECT_THAT(parse_bytes("512"), Optional(512.0));
  EXPECT_THAT(parse_bytes("1.5 TiB"), Optional(1.5 * 1024 * 1024 * 1024 * 1024));
  EXPECT_THAT(parse_bytes("3kb"), Optional(3000.0));
  for (const char* text : {"80Gi", "GB", "-1GB", "80 G B", "80GBps"})
    EXPECT_EQ(parse_bytes(text), std::nullopt) << text;
}

TEST(Units, RatesAreBytesUnlessTheySayBit) {
  EXPECT_THAT(parse_rate("3.35TB/s"), Optional(3.35e12));
  EXPECT_THAT(parse_rate("3.35TB"), Optional(3.35e12));
  EXPECT_THAT(parse_rate("25 GB/s"), Optional(25e9));
  EXPECT_THAT(parse_rate("400Gbit/s"), Optional(50e9));
  EXPECT_THAT(parse_rate("1kbit/s"), Optional(125.0));
  EXPECT_EQ(parse_rate("400Gb/s"), std::nullopt);  // bits to some, bytes to others
  EXPECT_EQ(parse_rate("/s"), std::nullopt);
  EXPECT_EQ(parse_rate("3TB/h"), std::nullopt);
}

// The forms of sbatch --time: minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes,
// days-hours:minutes:seconds.
TEST(Units, DurationsAreReadAsSlurmWritesThem) {
  EXPECT_THAT(parse_duration("12:34"), Optional(12 * 60.0 + 34));
  EXPECT_THAT(parse_duration("12:34:56"), Optional(12 * 3600.0 + 34 * 60 + 56));
  EXPECT_THAT(parse_duration("1-02"), Optional(86400.0 + 2 * 3600));
  EXPECT_THAT(parse_duration("1-02:03"), Optional(86400.0 + 2 * 3600 + 3 * 60));
  EXPECT_THAT(parse_duration("1-02:03:04"), Optional(86400.0 + 2 * 3600 + 3 * 60 + 4));
  EXPECT_THAT(parse_duration("100:00:00"), Optional(360000.0));
  EXPECT_THAT(parse_duration("90:00"), Optional(5400.0));
}

TEST(Units, DurationsAreReadWithTheirUnits) {
  EXPECT_THAT(parse_duration("90s"), Optional(90.0));
  EXPECT_THAT(parse_duration("30min"), Optional(1800.0));
  EXPECT_THAT(parse_duration("20h"), Optional(72000.0));
  EXPECT_THAT(parse_duration("2d"), Optional(172800.0));
  EXPECT_THAT(parse_duration("1h30m"), Optional(5400.0));
  EXPECT_THAT(parse_duration("1h 30 min 5 s"), Optional(5405.0));
  EXPECT_THAT(parse_duration("1.5h"), Optional(5400.0));
  EXPECT_THAT(parse_duration("250ms"), Optional(0.25));
}

TEST(Units, DurationsThatCouldMeanTwoThingsAreRefused) {
  for (const char* text : {"",        "90",        "1h30",   "30m1h", "1h2h",        "h",     "-1h",  "1:99",
                           "1:2:99",  "1-24",      "1-",     "-1",    "-02:00",      "1-2-3", "1:",   ":1",
                           "1:2:3:4", "1-2:3:4:5", "1.5:00", "1e3s",  "1 fortnight", "nan",   "1h,2m"})
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
  EXPECT_EQ(parse_duration(std::string(308, '9') + "-00"), std::nullopt);
  EXPECT_EQ(parse_duration(std::string(308, '9') + "w"), std::nullopt);
}

TEST(Units, CountsAreShownInThreeFigures) {
  EXPECT_EQ(format_count(70.6e9), "70.6B");
  EXPECT_EQ(format_count(656'000), "656k");
  EXPECT_EQ(format_count(12), "12");
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(7.2417e9), "7.24B");
  EXPECT_EQ(format_count(999'999), "1M");  // not 1000k
  EXPECT_EQ(format_count(671e9), "671B");
  EXPECT_EQ(format_count(1.5e12), "1.5T");
}

TEST(Units, BytesAreShownInBinaryUnits) {
  EXPECT_EQ(format_bytes(1.25 * kGiB), "1.25 GiB");
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(80 * kGiB), "80 GiB");
  EXPECT_EQ(format_bytes(1e300).empty(), false);
}

TEST(Units, DurationsAreShownInTheirTwoLargestUnits) {
  EXPECT_EQ(format_duration(3.2), "3.2 s");
  EXPECT_EQ(format_duration(0), "0 s");
  EXPECT_EQ(format_duration(45), "45 s");
  EXPECT_EQ(format_duration(59.7), "1 min");
  EXPECT_EQ(format_duration(8040), "2 h 14 min");
  EXPECT_EQ(format_duration(3599), "1 h");
  EXPECT_EQ(format_duration(28 * 3600), "28 h");
  EXPECT_EQ(format_duration(52 * 3600), "2 d 4 h");
  EXPECT_EQ(format_duration(-1), "unknown");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::quiet_NaN()), "unknown");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "forever");
}

TEST(Units, SlurmTimesAreThoseThatSbatchTakes) {
  EXPECT_EQ(format_slurm_time(0), "00:00:00");
  EXPECT_EQ(format_slurm_time(7384), "02:03:04");
  EXPECT_EQ(format_slurm_time(93784), "1-02:03:04");
  EXPECT_EQ(format_slurm_time(86399), "23:59:59");
  EXPECT_EQ(format_slurm_time(-5), "00:00:00");
}

TEST(Units, SlurmTimesReadBackTheSame) {
  for (std::int64_t seconds : {60, 3600, 86399, 86400, 93784, 1'000'000})
    EXPECT_THAT(parse_duration(format_slurm_time(seconds)), Optional(static_cast<double>(seconds)));
}

TEST(Units, FixedNumbersAreNeverMinusNothing) {
  EXPECT_EQ(format_fixed(0.45, 3), "0.450");
  EXPECT_EQ(format_fixed(-0.0001, 3), "0.000");
  EXPECT_EQ(format_fixed(-0.0, 0), "0");
  EXPECT_EQ(format_fixed(-0.5, 3), "-0.500");
  EXPECT_EQ(format_fixed(1e308, 6).size(), 309u + 7u);
}

TEST(Units, LargeNumbersAreGrouped) {
  EXPECT_EQ(grouped(1'000'450), "1,000,450");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(-1000), "-1,000");
  EXPECT_EQ(grouped(-999), "-999");
  EXPECT_EQ(grouped(std::numeric_limits<long long>::min()), "-9,223,372,036,854,775,808");
}
