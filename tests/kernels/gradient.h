// The gradient of a number by central differences in doubles, and cases that hold an op's answer against it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/cases.h"

namespace orch::kernels::test {

using Point = std::vector<Numbers>;

/// What an op is to have found of the gradient by one matrix.
struct Answer {
  std::size_t of = 0;  ///< which matrix
  Matrix gradient;
  double before = 0;  ///< what stood there, everywhere
  double times = 1;
};

struct Question {
  Point point;
  std::function<double(const Point&)> value;
  std::function<void()> run;
  std::vector<Answer> answers;
};

/// A case for each of so many answers. Of large matrices some numbers are looked at, everywhere.
std::vector<Case> gradient_cases(const std::string& name, DType dtype, double error, std::size_t answers,
                                 const std::function<Question(Device&)>& ask);

/// Σ dy · y.
double towards(const Numbers& dy, const std::vector<double>& y);
/// Holds the same number everywhere.
Numbers filled(std::int64_t rows, std::int64_t cols, double value);

}  // namespace orch::kernels::test
