#include "model/merge.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "model/architecture.h"
#include "model/checkpoint.h"
#include "model/modules.h"
#include "model/peft.h"
#include "model/sources.h"

namespace orch::model {
namespace {

namespace fs = std::filesystem;

/// What one module does to its tensor, as the file has it: rows × cols += scale · left · right.
struct Change {
  const PeftModule* module = nullptr;
  bool transposed = false;       ///< inputs × outputs, as GPT-2's layers are stored
  Stored stored = Stored::kF32;  ///< of the new numbers
  std::vector<float> right;      ///< rank × cols, where it is not A itself

  std::int64_t rows() const { return transposed ? module->inputs : module->outputs; }
  std::int64_t cols() const { return transposed ? module->outputs : module->inputs; }
  double left(std::int64_t row, std::int64_t r) const {
    return static_cast<double>(transposed ? module->a[static_cast<std::size_t>(r * module->inputs + row)]
                                          : module->b[static_cast<std::size_t>(row * module->rank + r)]);
  }
  const float* right_row(std::int64_t r) const { return (transposed ? right.data() : module->a.data()) + r * cols(); }
};
using Changes = std::map<std::string, Change, std::less<>>;  // by the tensor's name

/// numbers, of some rows, += what the module adds to them.
Result<std::monostate> add_to(const std::string& name, const Change& change, std::int64_t first,
                              std::span<double> numbers) {
  const std::int64_t cols = change.cols(), rank = change.module->rank;
  const std::int64_t rows = static_cast<std::int64_t>(numbers.size()) / cols;
  std::vector<double> product(static_cast<std::size_t>(cols));
  for (std::int64_t row = 0; row < rows; ++row) {
    std::fill(product.begin(), product.end(), 0.0);
    for (std::int64_t r = 0; r < rank; ++r) {
      const double factor = change.left(first + row, r);
      const float* right = change.right_row(r);
      for (std::size_t col = 0; col < product.size(); ++col) product[col] += factor * static_cast<double>(right[col]);
    }
    double* sum = numbers.data() + row * cols;
    for (std::size_t col = 0; col < product.size(); ++col) {
      const double before = sum[col];
      sum[col] += change.module->scale * product[col];
      if (!std::isfinite(sum[col]) && std::isfinite(before))
        return Error{"tensor " + shown(name) + " would have numbers that are not finite: the adapter's A or B has"};
    }
  }
  return std::monostate{};
}

/// Which module is which tensor, and whether it can be changed.
Result<Changes> find_changes(const Architecture& it, const Checkpoint& checkpoint, const PeftAdapter& adapter,
                             std::optional<Stored> stored) {
  Changes changes;
  std::vector<std::string> missing;
  for (const PeftModule& module : adapter.modules) {
    if (module.experts > 0) {
      missing.push_back(module.path);
      continue;
    }
    const auto cannot = [&](const std::string& why) {
      return Error{"the adapter's module " + shown(module.path) + " cannot be merged: " + why};
    };
    if (it.tied && module.path == "lm_head") return cannot("the model's head is its embedding too");
    const auto name = tensor_of(module.path, checkpoint);
    if (!name) {
      missing.push_back(module.path);
      continue;
    }
    const Tensor& tensor = *checkpoint.find(*name);
    Change change;
    change.module = &module;
    // GPT-2 has its layers stored as convolutions; its head is none.
    change.transposed = it.family == "gpt2" && module.path.starts_with("transformer.h.");
    if (tensor.shape != std::vector{change.rows(), change.cols()})
      return cannot("it is " + shape_text({module.outputs, module.inputs}) + ", for which tensor " + shown(*name) +
                    " would be " + shape_text({change.rows(), change.cols()}) + ", and it is " +
                    shape_text(tensor.shape));
    switch (tensor.stored) {
      case Stored::kF64:
      case Stored::kF32:
      case Stored::kF16:
      case Stored::kBf16:
        break;
      case Stored::kF8E4M3:
      case Stored::kF8E5M2:
        return cannot("tensor " + shown(*name) + " is stored as " + std::string(name_of(tensor.stored)) +
                      ", with scales that were made for the numbers that it has; merge into the checkpoint in 16 or "
                      "32 bits that it was made from");
      default:
        return cannot("tensor " + shown(*name) + " is stored as " + std::string(name_of(tensor.stored)) +
                      "; numbers are added in F32, F16, BF16 and F64");
    }
    change.stored = stored.value_or(tensor.stored);
    if (change.transposed) {
      change.right.resize(module.b.size());
      for (std::int64_t col = 0; col < module.outputs; ++col)
        for (std::int64_t r = 0; r < module.rank; ++r)
          change.right[static_cast<std::size_t>(r * module.outputs + col)] =
              module.b[static_cast<std::size_t>(col * module.rank + r)];
    }
    changes.emplace(*name, std::move(change));
  }
  if (!missing.empty())
    return Error{"the adapter changes module " + shown(missing.front()) +
                 (missing.size() > 1 ? " and " + std::to_string(missing.size() - 1) + " more" : "") +
                 ", which the model has no tensor of (" + shown(missing.front()) + ".weight)"};
  return changes;
}

/// Stacks of experts as the linear layers that a checkpoint has of them.
void take_apart(const Architecture& it, PeftAdapter& adapter) {
  std::map<std::string, Module> stacks;
  for (Module& module : modules_of(shapes_of(it, {})))
    if (module.all_experts > 0) stacks[module.path] = std::move(module);
  std::vector<PeftModule> apart;
  for (PeftModule& module : adapter.modules) {
    const auto stack = stacks.find(module.path);
    const bool is_known = module.experts > 0 && stack != stacks.end() && module.experts == stack->second.all_experts &&
                          module.outputs == stack->second.all_outputs;
    if (!is_known) {
      apart.push_back(std::move(module));
      continue;
    }
    for (const SingleExpert& single : single_experts(stack->second)) {
      PeftModule& one = apart.emplace_back();
      one.path = single.path;
      one.alpha = module.alpha, one.scale = module.scale;
      one.rank = module.rank, one.inputs = module.inputs, one.outputs = single.outputs.count;
      const auto a = module.a.begin() + single.expert * module.rank * module.inputs;
      one.a.assign(a, a + module.rank * module.inputs);
      const auto b = module.b.begin() + (single.expert * module.outputs + single.outputs.first) * module.rank;
      one.b.assign(b, b + one.outputs * module.rank);
    }
  }
  adapter.modules = std::move(apart);
}

Result<Changes> changes_of(const fs::path& base, PeftAdapter& adapter, std::optional<Stored> stored) {
  const auto it = open_architecture(base);
  if (!it) return it.error();
  const auto checkpoint = Checkpoint::open(base);
  if (!checkpoint) return checkpoint.error();
  take_apart(*it, adapter);
  auto changes = find_changes(*it, *checkpoint, adapter, stored);
  if (!changes) return Error{base.string() + ": " + changes.error().what};
  return changes;
}

}  // namespace

Result<Merged> merge_adapter(const fs::path& base, const fs::path& adapter, const fs::path& out,
                             std::optional<DType> dtype) {
  const RewritingWords words{"merged model", "merged tensors", "merge"};
  const auto stored = stored_as(dtype, words);
  if (!stored) return stored.error();
  const auto folder = new_folder(out, words);
  if (!folder) return folder.error();
  auto read = read_peft(adapter);
  if (!read) return read.error();
  const auto changes = changes_of(base, *read, *stored);
  if (!changes) return changes.error();
  NewTensors tensors;
  for (const auto& each : *changes)
    tensors[each.first] = {each.second.stored, each.second.cols(),
                           [&each](std::int64_t first, std::span<double> numbers) {
                             return add_to(each.first, each.second, first, numbers);
                           }};
  return rewrite(base, tensors, *folder, words);
}

}  // namespace orch::model
