#include <cmath>

#include "base/layout.h"
#include "base/memory.h"
#include "promise.h"
#include "shipped.h"
#include "targets.h"

namespace orch::fuzz {
namespace {

void promise_amount(double value, std::string_view what) { promise(std::isfinite(value) && value >= 0, what); }

void compute(const Model& model) {
  if (!model.decoder) return;
  const ParamCount count = count_params(model);
  promise_amount(count.total, "parameters are a count");
  promise_amount(count.active, "active parameters are a count");
  for (const DType dtype : kDTypes) promise_amount(weight_bytes(model, dtype), "weights are an amount");
  promise_amount(kv_bytes_per_token(*model.decoder, DType::kFp8), "a KV cache is an amount");
  for (const auto& [gpus, per_node] : {std::pair(1, 1), {6, 6}, {8, 8}, {16, 8}}) {
    const Layouts layouts = layouts_for(model, gpus, per_node);
    for (const Layout& layout : layouts.legal) {
      promise(layout.gpus() == gpus && layout.tp <= per_node, "a layout takes the GPUs that there are");
      InferenceShape shape;
      shape.tokens = model.context;
      promise_amount(inference_memory(model, layout, shape).total(), "memory is an amount");
      TrainShape train;
      promise_amount(training_memory(model, layout, train).total(), "memory for training is an amount");
      if (layouts.legal.size() > 20) break;
    }
  }
}

}  // namespace

void catalog_target(std::string_view bytes) {
  Diagnostics diagnostics;
  const auto root = parse(bytes, diagnostics);
  if (root) {
    Catalog whole = shipped_catalog();
    read_catalog_file(whole, *root, "input.yaml", diagnostics);
    check_catalog(whole, diagnostics);
    // Also of a wrong catalog: the numbers of an entry with an error are bounded too.
    int computed = 0;
    for (const Model& model : whole.models.all())
      if (model.source.file == "input.yaml" && computed++ < 3) compute(model);
    for (const Gpu& gpu : whole.gpus.all())
      if (gpu.source.file == "input.yaml")
        for (const DType dtype : kDTypes) promise(gpu.flops_for(dtype) > 0, "a GPU computes");
    if (diagnostics.ok())
      for (const Category& category : whole.categories.all()) {
        (void)whole.models_of(category);
        (void)whole.tasks_of(category);
      }
  }
  check_messages(diagnostics);
}

}  // namespace orch::fuzz
