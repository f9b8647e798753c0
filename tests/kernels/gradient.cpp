#include "kernels/gradient.h"

#include <memory>
#include <stdexcept>

namespace orch::kernels::test {
namespace {

std::vector<std::size_t> looked_at(const Numbers& numbers) {
  const std::size_t size = numbers.values.size(), most = 120;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < std::min(size, most); ++i) places.push_back(size <= most ? i : i * 7919 % size);
  return places;
}

}  // namespace

std::vector<Case> gradient_cases(const std::string& name, DType dtype, double error, std::size_t answers,
                                 const std::function<Question(Device&)>& ask) {
  std::vector<Case> cases;
  for (std::size_t number = 0; number < answers; ++number) {
    Case it;
    it.name = name + "_" + std::to_string(number);
    it.error = error;
    it.dtype = dtype;
    it.prepare = [=](Device& device) {
      auto question = std::make_shared<Question>(ask(device));
      const Answer answer = question->answers.at(number);
      Prepared ready;
      ready.run = question->run;
      ready.got = [=, &device] {
        const Numbers all = device.get(answer.gradient);
        if (all.values.size() != question->point[answer.of].values.size()) throw std::logic_error("another shape");
        std::vector<double> got;
        for (const std::size_t place : looked_at(all)) got.push_back(all.values[place]);
        return got;
      };
      ready.untouched = [=, &device] { return device.is_spare_untouched(answer.gradient); };
      ready.want = [=] {
        Point point = question->point;
        Numbers& moved = point[answer.of];
        std::vector<double> want;
        for (const std::size_t place : looked_at(moved)) {
          const double step = 1e-5, middle = moved.values[place];
          moved.values[place] = middle + step;
          const double above = question->value(point);
          moved.values[place] = middle - step;
          const double below = question->value(point);
          moved.values[place] = middle;
          want.push_back(answer.before + answer.times * (above - below) / (2 * step));
        }
        return want;
      };
      return ready;
    };
    cases.push_back(std::move(it));
  }
  return cases;
}

double towards(const Numbers& dy, const std::vector<double>& y) {
  double sum = 0;
  for (std::size_t i = 0; i < y.size(); ++i) sum += dy.values[i] * y[i];
  return sum;
}

Numbers filled(std::int64_t rows, std::int64_t cols, double value) {
  return {std::vector<double>(static_cast<std::size_t>(rows * cols), value), rows, cols};
}

}  // namespace orch::kernels::test
