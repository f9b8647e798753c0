// What was written for steps to come is told and kept as bytes, and comes back as it was.
#include "train/generation.h"

#include <gmock/gmock.h>

#include <bit>
#include <cmath>

namespace orch::train {
namespace {

const std::vector<Generated> kAll = {{3, {5, 7, -1}, true, 0.1, -1.5, {-0.25F, -1e-30F, -80}},
                                     {4, {}, false, 2, 0, {}},
                                     {900'000'000'000, {1 << 30}, false, -1e300, 1e-300, {0}}};

std::string why_not(const std::string& bytes) {
  const auto read = unpack_generation(bytes);
  return read ? "" : read.error().what;
}

TEST(Generation, ComesBackAsItWas) {
  EXPECT_EQ(*unpack_generation(pack_generation(kAll)), kAll);
  EXPECT_TRUE(unpack_generation("")->empty());
}

TEST(Generation, KeepsNumbersThatAreNone) {
  const Generated odd{0, {1}, true, std::nan(""), INFINITY, {-NAN}};
  const auto read = *unpack_generation(pack_generation(std::span(&odd, 1)));
  EXPECT_TRUE(std::isnan(read[0].reward));
  EXPECT_EQ(read[0].advantage, INFINITY);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(read[0].old[0]), std::bit_cast<std::uint32_t>(odd.old[0]));
}

TEST(Generation, IsTheSameWhicheverRankWroteWhat) {
  const auto part = [](std::size_t from, std::size_t count) {
    return pack_generation(std::span(kAll).subspan(from, count));
  };
  EXPECT_EQ(*unpack_generation(part(1, 2) + part(0, 1)), kAll);
  EXPECT_EQ(*unpack_generation(part(2, 1) + part(0, 0) + part(0, 2)), kAll);
}

TEST(Generation, ThatIsCutOffOrChangedIsRefused) {
  const std::string good = pack_generation(kAll);
  const std::string broken = "what was written for the steps to come is broken";
  const std::size_t first = pack_generation(std::span(kAll).first(1)).size(),
                    second = pack_generation(std::span(kAll).first(2)).size();
  for (std::size_t size = 1; size < good.size(); ++size)
    EXPECT_EQ(why_not(good.substr(0, size)), size == first || size == second ? "" : broken) << size;
  EXPECT_EQ(why_not(good + good), broken) << "each is there twice";
  for (const std::size_t at : {7U, 15U}) {  // the highest bytes of a number and of a count of tokens
    for (const char byte : {'\x7f', '\xff'}) {
      std::string changed = good;
      changed[at] = byte;
      if (at == 15 || byte == '\xff') EXPECT_EQ(why_not(changed), broken) << at;
    }
  }
  std::string ended = good;
  ended[16] = 2;
  EXPECT_EQ(why_not(ended), broken);
}

}  // namespace
}  // namespace orch::train
