#include "eval/score/code.h"

#include <gmock/gmock.h>

#include <array>
#include <cmath>

namespace orch::eval {
namespace {

TEST(PassAtK, IsTheChanceThatOneOfKDrawnAnswersPasses) {
  // By hand, 1 − C(n−c, k) / C(n, k).
  EXPECT_DOUBLE_EQ(pass_at_k(1, 0, 1), 0.0);
  EXPECT_DOUBLE_EQ(pass_at_k(1, 1, 1), 1.0);
  EXPECT_NEAR(pass_at_k(10, 3, 1), 0.3, 1e-15);
  EXPECT_NEAR(pass_at_k(5, 2, 2), 1 - 3.0 / 10, 1e-15);           // C(3,2) / C(5,2)
  EXPECT_NEAR(pass_at_k(10, 3, 5), 1 - 21.0 / 252, 1e-15);        // C(7,5) / C(10,5)
  EXPECT_NEAR(pass_at_k(20, 4, 10), 1 - 8008.0 / 184756, 1e-14);  // C(16,10) / C(20,10)
  EXPECT_DOUBLE_EQ(pass_at_k(10, 8, 3), 1.0);                     // only two fail
}

TEST(PassAtK, IsExactWhereBinomialCoefficientsAreBeyondAnyNumber) {
  // C(1900, 100) / C(2000, 100) = Π (1900 − i) / (2000 − i) for i < 100: by logarithms.
  double logarithm = 0;
  for (int i = 0; i < 100; ++i) logarithm += std::log(1900.0 - i) - std::log(2000.0 - i);
  EXPECT_NEAR(pass_at_k(2000, 100, 100), 1 - std::exp(logarithm), 1e-12);
}

TEST(CodePrograms, AreTextsPutTogetherAsPublished) {
  EXPECT_EQ(humaneval_program("def f(x):\n", "    return x\n", "def check(c):\n    assert c(1) == 1\n", "f"),
            "def f(x):\n    return x\n\ndef check(c):\n    assert c(1) == 1\n\ncheck(f)");
  const std::array<std::string, 2> tests = {"assert f(1) == 1", "assert f(2) == 2"};
  EXPECT_EQ(mbpp_program("def f(x): return x", tests), "def f(x): return x\nassert f(1) == 1\nassert f(2) == 2\n");
  EXPECT_EQ(mbpp_program("def f(x): return x", tests, "import math"),
            "def f(x): return x\nimport math\nassert f(1) == 1\nassert f(2) == 2\n");
}

TEST(PrintedOutput, IsComparedByLinesWithoutWhatCannotBeSeen) {
  EXPECT_TRUE(same_output("1 2\n3\n", "1 2\n3"));
  EXPECT_TRUE(same_output("1 2 \r\n3\t\n\n\n", "1 2\n3\n"));
  EXPECT_TRUE(same_output("", "\n \n"));
  EXPECT_FALSE(same_output("1 2\n3", "1  2\n3"));
  EXPECT_FALSE(same_output(" 1", "1"));
  EXPECT_FALSE(same_output("1\n\n2", "1\n2"));
  EXPECT_FALSE(same_output("1\n2", "1"));
  EXPECT_FALSE(same_output("A", "a"));
}

}  // namespace
}  // namespace orch::eval
