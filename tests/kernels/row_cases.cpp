#include <cmath>

#include "kernels/cases.h"
#include "kernels/reference.h"

namespace orch::kernels::test {
namespace {

Case add_norm(std::int64_t rows, std::int64_t cols, DType dtype, bool layer, bool delta, bool delta_norm, bool out) {
  Case it;
  it.name = "AddNorm_" + std::string(orch::name_of(dtype)) + "_" + std::to_string(rows) + "x" + std::to_string(cols) +
            (layer ? "_layer" : "_rms") + (delta ? "_delta" : "") + (delta_norm ? "_normed" : "") + (out ? "_out" : "");
  it.error = 2 * tolerance(dtype);
  it.dtype = dtype;
  it.bytes = static_cast<double>(rows * cols * 4) * orch::bytes_of(dtype);
  it.prepare = [=](Device& device) {
    Random random(static_cast<std::uint64_t>(rows * 131 + cols));
    const Numbers residual = random.numbers(rows, cols, dtype, 1, 0.5), added = random.numbers(rows, cols, dtype, 2);
    const Numbers weight = random.numbers(1, cols, DType::kFp32), bias = random.numbers(1, cols, DType::kFp32);
    const Numbers delta_weight = random.numbers(1, cols, DType::kFp32);
    auto norm = std::make_shared<Norm>(Norm{layer, 1e-5F, device.put(weight, DType::kFp32),
                                            layer ? device.put(bias, DType::kFp32) : Matrix{}, !layer});
    auto first = std::make_shared<Norm>(Norm{layer, 1e-3F, device.put(delta_weight, DType::kFp32), Matrix{}, false});
    AddNorm op;
    op.residual = device.put(residual, dtype, 4);
    if (delta) op.delta = device.put(added, dtype, 1);
    op.delta_scale = 0.25F;
    if (delta_norm) op.delta_norm = first.get();
    if (out) {
      op.norm = norm.get();
      op.out = device.poisoned(rows, cols, dtype, 6);
    }
    Prepared prepared;
    prepared.run = [&device, op, norm, first] { device.backend().run(device.stream(), op); };
    prepared.got = [&device, op, out] {
      std::vector<double> got = device.get(op.residual).values;
      if (out) {
        const std::vector<double> normed = device.get(op.out).values;
        got.insert(got.end(), normed.begin(), normed.end());
      }
      return got;
    };
    prepared.untouched = [&device, op, out] { return !out || device.is_spare_untouched(op.out); };
    prepared.want = [=] {
      std::vector<double> sums, normed;
      for (std::int64_t r = 0; r < rows; ++r) {
        std::vector<double> sum(static_cast<std::size_t>(cols)), more(sum.size());
        for (std::size_t k = 0; k < sum.size(); ++k) {
          sum[k] = residual.at(r, static_cast<std::int64_t>(k));
          more[k] = added.at(r, static_cast<std::int64_t>(k));
        }
        if (delta_norm) more = norm_of(more, layer, 1e-3, delta_weight.values, {}, false);
        if (delta)
          for (std::size_t k = 0; k < sum.size(); ++k) sum[k] = rounded(sum[k] + 0.25 * more[k], dtype);
        sums.insert(sums.end(), sum.begin(), sum.end());
        const auto row = norm_of(sum, layer, 1e-5, weight.values, layer ? bias.values : std::vector<double>{}, !layer);
        normed.insert(normed.end(), row.begin(), row.end());
      }
      if (out) sums.insert(sums.end(), normed.begin(), normed.end());
      return sums;
    };
    return prepared;
  };
  return it;
}

}  // namespace

std::vector<Case> row_cases() {
  std::vector<Case> cases;
  for (const DType dtype : {DType::kFp32, DType::kBf16, DType::kFp16})
    for (const auto& [rows, cols] :
         {std::pair(1, 1), std::pair(0, 8), std::pair(3, 17), std::pair(40, 256), std::pair(2, 5000)})
      for (const bool layer : {false, true}) {
        cases.push_back(add_norm(rows, cols, dtype, layer, false, false, true));
        cases.push_back(add_norm(rows, cols, dtype, layer, true, false, true));
        cases.push_back(add_norm(rows, cols, dtype, layer, true, true, true));
        cases.push_back(add_norm(rows, cols, dtype, layer, true, false, false));
      }
  return cases;
}

std::vector<Case> row_speeds() {
  return {add_norm(1, 2048, DType::kBf16, false, true, false, true),
          add_norm(512, 2048, DType::kBf16, false, true, false, true),
          add_norm(512, 2048, DType::kFp32, false, true, false, true)};
}

}  // namespace orch::kernels::test
