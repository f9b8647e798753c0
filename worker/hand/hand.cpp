#include "hand/hand.h"

#include <sys/signalfd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/text.h"
#include "comm/mpi_transport.h"
#include "comm/ranks.h"
#include "hand/evaluate.h"
#include "hand/options.h"
#include "hand/train.h"
#include "kernels/plan/backend.h"
#include "model/merge.h"
#include "native/locate.h"
#include "texts/opened_model.h"

namespace orch::hand {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::size_t kMostInput = std::size_t{1} << 30;
constexpr int kStopped = 3;                           // exit code: it was ended by a signal, and can go on
constexpr auto kPatience = std::chrono::minutes(10);  // of ranks with each other

Result<std::string> read_input(const std::string& file) {
  std::string text;
  const auto read = [&](std::istream& in) {
    text.assign(std::istreambuf_iterator<char>(in), {});
    return text.size() <= kMostInput;
  };
  if (file.empty()) {
    if (!read(std::cin)) return Error{"standard input is larger than 1 GiB"};
    return text;
  }
  std::ifstream in(file, std::ios::binary);
  if (!in) return Error{"cannot read " + file + ": " + std::strerror(errno)};
  if (!read(in)) return Error{file + " is larger than 1 GiB"};
  return text;
}

std::string name_of_input(const Options& options) { return options.file.empty() ? "standard input" : options.file; }

Result<std::vector<std::string>> strings_of(const std::string& text, const std::string& name) {
  const json root = json::parse(text, nullptr, false);
  const bool fits =
      root.is_array() && std::all_of(root.begin(), root.end(), [](const json& each) { return each.is_string(); });
  if (!fits) return Error{name + " must be a JSON list of strings"};
  return root.get<std::vector<std::string>>();
}

Result<std::vector<texts::Pair>> pairs_of(const std::string& text, const std::string& name) {
  const json root = json::parse(text, nullptr, false);
  const bool fits = root.is_array() && std::all_of(root.begin(), root.end(), [](const json& each) {
                      return each.is_array() && each.size() == 2 && each[0].is_string() && each[1].is_string();
                    });
  if (!fits) return Error{name + " must be a JSON list of [context, continuation]"};
  std::vector<texts::Pair> pairs;
  for (const json& each : root) pairs.push_back({each[0], each[1]});
  return pairs;
}

Result<ordered_json> generate(const Options& options, const std::string& input, texts::TextEngine& engine) {
  const auto prompts = strings_of(input, name_of_input(options));
  if (!prompts) return prompts.error();
  std::vector<texts::Prompt> asked;
  for (const std::string& prompt : *prompts) {
    infer::Sampling sampling = options.sampling;
    sampling.seed += asked.size() * 0x9e3779b97f4a7c15U;
    asked.push_back({prompt, options.most.value_or(32), options.stop, sampling});
  }
  const auto answers = engine.write(asked);
  if (!answers) return answers.error();
  ordered_json all = ordered_json::array();
  for (std::size_t i = 0; i < answers->size(); ++i)
    all.push_back({{"prompt", asked[i].text}, {"ids", (*answers)[i].ids}, {"text", (*answers)[i].text}});
  return all;
}

Result<ordered_json> score(const Options& options, const std::string& input, texts::TextEngine& engine) {
  const auto pairs = pairs_of(input, name_of_input(options));
  if (!pairs) return pairs.error();
  const auto scores = engine.score(*pairs);
  if (!scores) return scores.error();
  ordered_json all = ordered_json::array();
  for (const texts::PairScore& each : *scores)
    all.push_back({{"logprob", each.logprob}, {"is_greedy", each.is_greedy}, {"tokens", each.tokens}});
  return all;
}

Result<ordered_json> tokenize(const Options& options, const std::string& input, const fs::path& folder) {
  const auto texts = strings_of(input, name_of_input(options));
  if (!texts) return texts.error();
  const auto tokenizer = tokenizer::Tokenizer::open(folder);
  if (!tokenizer) return tokenizer.error();
  ordered_json all = ordered_json::array();
  for (const std::string& text : *texts) {
    const auto ids = tokenizer->encode(text, options.special);
    if (!ids) return ids.error();
    all.push_back(*ids);
  }
  return all;
}

ordered_json attention_of(const model::AttentionKind& attention) {
  ordered_json it = {{"heads", attention.heads}, {"kv_heads", attention.kv_heads}, {"head_dim", attention.head_dim}};
  if (attention.latent) it["latent"] = {{"kv_rank", attention.latent->kv_rank}, {"q_rank", attention.latent->q_rank}};
  return it;
}

Result<ordered_json> inspect(const fs::path& folder) {
  const auto it = model::open_architecture(folder);
  if (!it) return it.error();
  const auto checkpoint = model::Checkpoint::open(folder);
  if (!checkpoint) return checkpoint.error();
  const auto sources = model::find_sources(*it, *checkpoint, {});
  if (!sources) return Error{folder.string() + ": " + sources.error().what};
  const std::int64_t parameters = model::parameters_of(*it, *sources);
  const model::AttentionKind& attention = it->attention;
  // As the worker keeps them: on the plan's device, which has no bytes of its own.
  ordered_json weights, cache;
  for (const DType dtype : {DType::kFp32, DType::kBf16, DType::kFp16, DType::kInt8}) {
    const auto plan = kernels::make_plan_backend();
    const model::Formats formats(dtype == DType::kInt8 ? DType::kBf16 : dtype, dtype);
    const auto decoder = model::Decoder::load(*plan, *it, model::shapes_of(*it, {}), {}, formats);
    if (!decoder) return decoder.error();
    weights[name_of(dtype)] = plan->bytes();
    const DType kept = dtype == DType::kInt8 ? DType::kFp8 : dtype;
    cache[name_of(kept)] = plan->page_bytes((*decoder)->kv_shape(kept)) * it->layers.size() / kernels::kPageTokens;
  }
  ordered_json layouts = ordered_json::array();
  for (const int tensor : {1, 2, 4, 8, 16})
    for (const int pipeline : {1, 2, 3, 4, 6, 8}) {
      model::Shard shard;
      shard.ranks = tensor;
      shard.stages = pipeline;
      if (model::check_shard(*it, shard)) layouts.push_back({{"tp", tensor}, {"pp", pipeline}});
    }
  ordered_json all = {{"folder", folder.string()}, {"family", it->family},
                      {"parameters", parameters},  {"layers", it->layers.size()},
                      {"hidden", it->hidden},      {"vocab", it->vocab},
                      {"context", it->context},    {"attention", attention_of(attention)}};
  if (it->experts)
    all["experts"] = {{"count", it->experts->count}, {"active", it->experts->active}, {"inner", it->experts->inner}};
  all["tied_embeddings"] = it->tied;
  all["dtype"] = it->dtype;
  all["weight_bytes"] = weights;
  all["kv_bytes_per_token"] = cache;
  all["layouts"] = layouts;
  return all;
}

Result<ordered_json> merge(const Options& options, const fs::path& folder, const worker::Ranks& ranks) {
  if (ranks.count() != 1) return Error{"merge runs alone, and " + counted(ranks.count(), "rank") + " were started"};
  const auto merged = model::merge_adapter(folder, options.file, options.out, options.merged);
  if (!merged) return merged.error();
  return ordered_json{{"folder", options.out},  {"changed", merged->changed.size()}, {"tensors", merged->tensors},
                      {"bytes", merged->bytes}, {"copied", merged->copied},          {"left_out", merged->left_out}};
}

Result<ordered_json> with_model(const Options& options, const fs::path& folder, const fs::path& program,
                                const worker::Ranks& ranks) {
  if (options.tensor * options.pipeline != ranks.count())
    return Error{"--tp " + std::to_string(options.tensor) + " × --pp " + std::to_string(options.pipeline) + " are " +
                 counted(options.tensor * options.pipeline, "rank") + ", and " +
                 (ranks.count() == 1 ? "one was started" : std::to_string(ranks.count()) + " were started") +
                 " (mpirun -n " + std::to_string(options.tensor * options.pipeline) + " orch-worker …)"};
  const auto joined = comm::make_transport(ranks.count(), kPatience);
  if (!joined) return joined.error();
  texts::OpenRules rules;
  rules.tensor = options.tensor;
  rules.pipeline = options.pipeline;
  const worker::Ranks::Node node = ranks.node();
  rules.threads = options.threads > 0 ? options.threads : worker::threads_of(node);
  rules.memory = worker::memory_of(node);
  rules.formats = {options.dtype, options.weights.value_or(options.dtype)};
  rules.adapter = options.adapter;
  rules.cache_dtype = options.cache.value_or(options.dtype);
  auto model = texts::OpenedModel::open(rules, folder, **joined);
  if (!model) return model.error();
  texts::TextEngine& texts = (*model)->texts();
  if (!ranks.is_first()) {
    const auto followed = texts.follow();
    return followed ? Result<ordered_json>(ordered_json()) : Result<ordered_json>(followed.error());
  }
  Result<ordered_json> answer = Error{};
  if (options.command == "eval") {
    answer = evaluate(options, texts, folder, program);
  } else {
    const auto input = read_input(options.file);
    answer = !input                          ? Result<ordered_json>(input.error())
             : options.command == "generate" ? generate(options, *input, texts)
                                             : score(options, *input, texts);
  }
  if (auto finished = texts.finish(); !finished && answer) return finished.error();
  return answer;
}

}  // namespace

namespace {

/// Before threads are started, so that none of them is ended by one.
int block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  return ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

}  // namespace

int run(std::span<char* const> words, const fs::path& program) {
  const auto refuse = [](const Error& error, int code) {
    std::cerr << "orch-worker: " << error.what << std::endl;
    return code;
  };
  const auto options = read_options(words);
  if (!options) return refuse(options.error(), 2);
  if (options->help) {
    std::cout << help_of(options->command);
    return 0;
  }
  const int signals = options->command == "train" ? block_signals() : -1;
  const worker::Ranks ranks;
  const auto folder = native::find_model(options->model, program);
  if (!folder) return refuse(folder.error(), 1);
  Result<ordered_json> answer = Error{};
  int code = 0;
  if (options->command == "inspect") {
    answer = inspect(*folder);
  } else if (options->command == "merge") {
    answer = merge(*options, *folder, ranks);
  } else if (options->command == "train") {
    auto trained = train(*options, *folder, ranks, signals);
    if (trained && trained->is_stopped) code = kStopped;
    answer = trained ? Result<ordered_json>(std::move(trained->answer)) : Result<ordered_json>(trained.error());
  } else if (options->command == "tokenize") {
    const auto input = read_input(options->file);
    answer = input ? tokenize(*options, *input, *folder) : Result<ordered_json>(input.error());
  } else {
    answer = with_model(*options, *folder, program, ranks);
  }
  if (!answer) return refuse(answer.error(), 1);
  const bool is_for_people = options->command == "inspect" || options->command == "eval" ||
                             options->command == "merge" || options->command == "train";
  if (ranks.is_first())
    std::cout << answer->dump(is_for_people ? 2 : -1, ' ', false, json::error_handler_t::replace) << std::endl;
  return std::cout ? code : 1;
}

}  // namespace orch::hand
