#include "base/digest.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

using namespace orch;
using nlohmann::json;

// FIPS 180-2, appendix B, and the digest of nothing.
TEST(Digest, IsSha256) {
  EXPECT_EQ(to_hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(to_hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(to_hex(sha256(std::string(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Digest, CountsEveryByte) { EXPECT_NE(sha256(std::string_view("a\0", 2)), sha256("a")); }

TEST(Digest, CanonicalJsonSortsKeysAndLeavesNoBlanks) {
  EXPECT_EQ(
      canonical_json(json::parse(R"({ "b": [1, 2, {"z": null, "a": true}], "a": "x", "B": false, "é": {} , "": []})")),
      "{\"\":[],\"B\":false,\"a\":\"x\",\"b\":[1,2,{\"a\":true,\"z\":null}],\"é\":{}}");
}

TEST(Digest, CanonicalJsonIsTheSameWhateverTheOrderOfKeys) {
  EXPECT_EQ(canonical_json(json::parse(R"({"a": 1, "b": {"c": 2, "d": 3}})")),
            canonical_json(json::parse(R"({"b": {"d": 3, "c": 2}, "a": 1})")));
  EXPECT_NE(canonical_json(json::parse("[1, 2]")), canonical_json(json::parse("[2, 1]")));
  EXPECT_NE(canonical_json(json(1)), canonical_json(json("1")));
}

TEST(Digest, CanonicalNumbersAreEqualWhenTheirValuesAre) {
  EXPECT_EQ(canonical_json(json(1.0)), "1");
  EXPECT_EQ(canonical_json(json(1)), "1");
  EXPECT_EQ(canonical_json(json(1u)), "1");
  EXPECT_EQ(canonical_json(json(-0.0)), "0");
  EXPECT_EQ(canonical_json(json(-3.0)), "-3");
  EXPECT_EQ(canonical_json(json(0.1)), "0.1");
  EXPECT_EQ(canonical_json(json(1e-7)), "1e-07");
  EXPECT_EQ(canonical_json(json(0.30000000000000004)), "0.30000000000000004");
  EXPECT_EQ(canonical_json(json(1152921504606846976.0)), canonical_json(json(1152921504606846976LL)));
  EXPECT_EQ(canonical_json(json(-9223372036854775808.0)), "-9223372036854775808");
  EXPECT_EQ(canonical_json(json(std::numeric_limits<std::uint64_t>::max())), "18446744073709551615");
  EXPECT_EQ(canonical_json(json(1e22)), "1e+22");
  EXPECT_EQ(canonical_json(json(1e300)), "1e+300");
}

TEST(Digest, CanonicalNumbersReadBackTheSame) {
  for (double value :
       {0.1, 1.0 / 3, 2e-4, 1e-300, 5e-324, 1.7976931348623157e308, 123456789.125, 4e15 + 0.5, -2.5e-9, 1e22, 9e18})
    EXPECT_EQ(json::parse(canonical_json(json(value))).get<double>(), value);
}

TEST(Digest, CanonicalTextsAreEscapedAsJsonAsks) {
  EXPECT_EQ(canonical_json(json("a\"b\\c\n\t\x01/é😀")), "\"a\\\"b\\\\c\\n\\t\\u0001/é😀\"");
}

TEST(Digest, CanonicalJsonOfWhatJsonCannotHoldIsSafe) {
  EXPECT_EQ(canonical_json(json(std::numeric_limits<double>::infinity())), "null");
  EXPECT_EQ(canonical_json(json(std::numeric_limits<double>::quiet_NaN())), "null");
  EXPECT_NO_THROW(canonical_json(json("\xFF")));
}
