// One description per op at one shape: it gives the test on every backend (against a reference in doubles that is
// written from the op's definition in kernels/ops.h), and its speed.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace orch::kernels::test {

struct Prepared {
  std::function<void()> run;
  std::function<std::vector<double>()> got;               ///< all outputs one after another
  std::function<std::vector<double>()> want;              ///< the same by the reference
  std::function<bool()> untouched = [] { return true; };  ///< what it may not write
};

struct Case {
  std::string name;            ///< the op and its shape: LinearBf16_3x64x130
  double error = 0;            ///< root of the mean square error, as a share of the reference's, that is allowed
  DType dtype = DType::kFp32;  ///< of its inputs: its speed is held against the best product of these
  double flops = 0;            ///< of the op
  double bytes = 0;            ///< that it must read and write at least
  std::function<Prepared(Device&)> prepare;
};

std::vector<Case> linear_cases();
std::vector<Case> row_cases();
std::vector<Case> attention_cases();
/// Groups of cases whose results are the same, bit for bit, as far as they reach back from the last token.
std::vector<std::vector<Case>> attention_of_the_same();
std::vector<Case> expert_cases();
std::vector<Case> routed_cases();
std::vector<Case> score_cases();
/// Ops of training: against central differences of the definition in doubles, where that is not linear.
std::vector<Case> linear_back_cases();
std::vector<Case> row_back_cases();
std::vector<Case> attention_back_cases();
std::vector<Case> choice_back_cases();
std::vector<Case> update_cases();

/// The same descriptions at the shapes of a model of 1.2 billion numbers (Llama-3.2-1B), whose speed is measured
/// (tests/bench/bench_kernels.cpp); their references would take hours.
std::vector<Case> linear_speeds();
std::vector<Case> row_speeds();
std::vector<Case> attention_speeds();
std::vector<Case> score_speeds();
std::vector<Case> linear_back_speeds();

/// What rounding to `dtype` costs at most, and what sums in fp32 do beside that.
double tolerance(DType dtype);

}  // namespace orch::kernels::test
