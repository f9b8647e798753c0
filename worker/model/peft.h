// Adapters as PEFT writes and reads them: adapter_config.json and adapter_model.safetensors in a folder.
// https://huggingface.co/docs/peft
//
// Holds: what is read is all that the adapter does. Whatever else a configuration asks for (other methods, trained
// biases or whole modules) is refused with its name, rather than left out.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "model/adapter.h"
#include "model/modules.h"

namespace orch::model {

/// One module's numbers, as the file has them; or those of a parameter that is a stack of experts (target_parameters),
/// expert after expert.
struct PeftModule {
  std::string path;
  double alpha = 0;
  double scale = 1;
  std::int64_t rank = 0, inputs = 0, outputs = 0;
  std::vector<float> a;      ///< rank × inputs
  std::vector<float> b;      ///< outputs × rank
  std::int64_t experts = 0;  ///< of a stack; 0: a linear layer
};

struct PeftAdapter {
  std::string base;  ///< what it says it is for
  double dropout = 0;
  bool rank_stabilised = false;     ///< scale is alpha / √rank
  std::vector<PeftModule> modules;  ///< by path
};

Result<PeftAdapter> read_peft(const std::filesystem::path& folder);

/// What PEFT then reads. The folder is made; its files are replaced whole, the configuration last.
Result<std::monostate> write_peft(const std::filesystem::path& folder, const PeftAdapter& adapter);

/// An adapter in a backend's memory, for one rank's decoder.
class LoadedAdapter {
 public:
  /// An error names what the model does not have, or has in another size.
  static Result<LoadedAdapter> load(kernels::Backend& backend, const Architecture& architecture, const Sources& sources,
                                    const PeftAdapter& from, DType dtype);

  const Adapter& adapter() const { return adapter_; }
  /// Which module each LowRank is, in the order of layers, places and parts.
  const std::vector<Module>& modules() const { return modules_; }

 private:
  /// `from`: of the experts that `module` has, with its own as the first.
  Result<bool> add(kernels::Backend& backend, const Module& module, const PeftModule& from, std::int64_t first_expert,
                   DType dtype);

  Adapter adapter_;
  std::vector<Module> modules_;
  std::vector<WeightPtr> weights_;
};

}  // namespace orch::model
