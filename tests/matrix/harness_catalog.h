// The small catalog, with tasks of lm-evaluation-harness for its evaluations.
#pragma once

#include "support/small_catalog.h"

namespace orch::test {

/// `mbpp` has 3 worked examples there, `docvqa` none; `bfcl` is not one of its tasks.
inline Catalog harness_catalog() {
  Catalog catalog = small_catalog();
  const auto name = [&](const char* task, const char* harness, std::optional<int> most_shots) {
    Task named = *catalog.tasks.find(task);
    named.lm_eval = LmEvalTask{harness, most_shots};
    catalog.tasks.put(named);
  };
  name("mmlu", "mmlu", std::nullopt);
  name("gsm8k", "gsm8k_cot", std::nullopt);
  name("mbpp", "mbpp", 3);
  name("docvqa", "docvqa_val", 0);
  name("books", "books", std::nullopt);
  return catalog;
}

}  // namespace orch::test
