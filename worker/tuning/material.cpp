#include "tuning/material.h"

#include "base/text.h"

namespace orch::tuning {
namespace {

bool is_held_out(std::int64_t row, const MaterialRules& rules, std::int64_t rows) {
  return (row + 1) * rules.held_out / rows != row * rules.held_out / rows;
}

}  // namespace

std::optional<std::int64_t> count_rows(const std::filesystem::path& file, train::RowKind rows,
                                       Diagnostics& diagnostics) {
  std::int64_t count = 0;
  train::load_rows(file, rows, diagnostics, [&](const train::Row&) { ++count; });
  if (!diagnostics.ok()) return std::nullopt;
  return count;
}

Result<Material> read_material(const MaterialRules& rules, std::int64_t rows, const tokenizer::Tokenizer& tokenizer,
                               const model::ChatTemplate* chat, Diagnostics& diagnostics) {
  const auto make = [&] { return texts::SampleMaker::make(tokenizer, chat, rules.samples, rules.file.string()); };
  auto learns = make(), judges = make();
  if (!learns) return learns.error();
  if (!judges) return judges.error();
  Material material;
  train::load_rows(rules.file, rules.rows, diagnostics, [&](const train::Row& row) {
    const bool held_out = rows > 0 && is_held_out(material.rows++, rules, rows);
    texts::SampleMaker& maker = held_out ? *judges : *learns;
    Part& to = held_out ? material.held_out : material.learnt;
    switch (rules.rows) {
      case train::RowKind::kText:
        for (train::Sample& block : maker.text(row, diagnostics)) to.samples.push_back(std::move(block));
        return;
      case train::RowKind::kInstruction:
        if (auto sample = maker.instruction(row, diagnostics)) to.samples.push_back(*std::move(sample));
        return;
      case train::RowKind::kPreference:
        if (auto pair = maker.preference(row, diagnostics))
          to.pairs.push_back({std::move(pair->chosen), std::move(pair->rejected)});
        return;
      case train::RowKind::kPrompt:
        if (auto prompt = maker.prompt(row, diagnostics)) to.prompts.push_back(*std::move(prompt));
        return;
    }
  });
  for (auto& [maker, part] : {std::pair(&*learns, &material.learnt), std::pair(&*judges, &material.held_out)}) {
    if (auto rest = maker->rest()) part->samples.push_back(*std::move(rest));
    const texts::SampleCounts& counts = maker->counts();
    material.counts.made += counts.made;
    material.counts.cut += counts.cut;
    material.counts.dropped += counts.dropped;
    material.counts.uneven += counts.uneven;
  }
  if (diagnostics.ok() && material.learnt.items() == 0)
    return Error{rules.file.string() + ": nothing is left to learn from" +
                 (material.counts.dropped > 0 ? ": " + counted(material.counts.dropped, "row") +
                                                    " had nothing to be trained on within the longest sample, " +
                                                    counted(rules.samples.sequence, "token")
                                              : "")};
  return material;
}

}  // namespace orch::tuning
