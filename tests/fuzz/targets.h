// What is fuzzed: for each kind of input, everything that the program does with its bytes.
//
// A target returns for any bytes; a crash, a sanitizer's report or a broken promise (which aborts) is a finding.
#pragma once

#include <string_view>

namespace orch::fuzz {

void yaml_target(std::string_view bytes);      ///< the YAML reader
void catalog_target(std::string_view bytes);   ///< a site's catalog over the one that ships, then memory and layouts
void matrix_target(std::string_view bytes);    ///< a matrix, expanded
void policy_target(std::string_view bytes);    ///< a policy, as JSON, and against the default
void cluster_target(std::string_view bytes);   ///< a cluster file
void template_target(std::string_view bytes);  ///< a template, rendered
void chat_target(std::string_view bytes);      ///< a chat template, rendered; after a line `---8<---` messages, too
void history_target(std::string_view bytes);   ///< a history
void notify_target(std::string_view bytes);    ///< notify.yaml
void detect_target(std::string_view bytes);    ///< sinfo's answer, a NUL, scontrol's answer
void tokenizer_target(
    std::string_view bytes);  ///< a tokenizer.json; after a line `---8<---` a text, that is a pattern and rules, too
void safetensors_target(std::string_view bytes);  ///< a file of tensors, and all its numbers
void config_target(std::string_view bytes);       ///< a model's config.json
void task_target(std::string_view bytes);    ///< a task file, ours or the harness's; after a line `---8<---` its data
void rows_target(std::string_view bytes);    ///< a data set for training, read as each of its kinds
void curve_target(std::string_view bytes);   ///< a training's curve, and all that is drawn of it
void reward_target(std::string_view bytes);  ///< a file of rewards; after a line `---8<---` a completion of a model's
void checkpoint_target(
    std::string_view bytes);  ///< a checkpoint's state.json; after a line `---8<---` the header of its numbers, too
void calls_target(
    std::string_view bytes);  ///< a model's function calls; after a line `---8<---` the functions and answers, too
void sandbox_target(std::string_view bytes);  ///< what orch-sandbox and its caller say to each other
void plan_target(
    std::string_view bytes);  ///< a matrix, expanded and planned; after a line `---8<---` a cluster file, too

}  // namespace orch::fuzz
