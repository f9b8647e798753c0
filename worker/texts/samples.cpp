#include "texts/samples.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "train/strict_json.h"

namespace orch::texts {
namespace {

using nlohmann::ordered_json;
using tokenizer::TokenId;
using train::Messages;
using train::Said;

// Alpaca's words, in which many instruction models were tuned.
constexpr const char* kAlpaca =
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n";
constexpr const char* kAlpacaWithInput =
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response "
    "that appropriately completes the request.\n\n";

std::string alpaca(const train::Instruction& it) {
  std::string text = it.input.empty() ? kAlpaca : kAlpacaWithInput;
  text += "### Instruction:\n" + it.instruction + "\n\n";
  if (!it.input.empty()) text += "### Input:\n" + it.input + "\n\n";
  return text + "### Response:\n";
}

std::vector<std::int32_t> signed_ids(const std::vector<TokenId>& ids) { return {ids.begin(), ids.end()}; }

std::size_t common_beginning(const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

/// Marks from `from` on.
Sample marked(std::vector<std::int32_t> ids, std::size_t from) {
  Sample sample;
  sample.trained.assign(ids.size(), 1);
  std::fill_n(sample.trained.begin(), std::min(std::max<std::size_t>(from, 1), ids.size()), std::uint8_t{0});
  sample.ids = std::move(ids);
  return sample;
}

/// Marks the tokens that have bytes in the spans, which are in the text's order, from the byte `from` on.
Sample marked(const tokenizer::Encoding& encoding, const std::vector<tmpl::Span>& spans, std::size_t from) {
  Sample sample;
  sample.ids = signed_ids(encoding.ids);
  sample.trained.assign(sample.ids.size(), 0);
  const std::vector<tokenizer::Span>& places = encoding.places;
  std::size_t first = 0;
  for (const tmpl::Span& span : spans) {
    const std::size_t begin = std::max(span.from, from);
    if (begin >= span.to) continue;
    while (first < places.size() && places[first].end <= begin) ++first;
    std::size_t end = first;
    while (end < places.size() && places[end].begin < span.to) ++end;
    std::fill(sample.trained.begin() + static_cast<std::ptrdiff_t>(first),
              sample.trained.begin() + static_cast<std::ptrdiff_t>(end), std::uint8_t{1});
  }
  if (!sample.trained.empty()) sample.trained[0] = 0;
  return sample;
}

std::size_t first_trained(const Sample& sample) {
  return static_cast<std::size_t>(std::find(sample.trained.begin(), sample.trained.end(), 1) - sample.trained.begin());
}
bool is_trained_on(const Sample& sample) { return first_trained(sample) < sample.ids.size(); }

/// Keeps at most so many tokens, the first; says whether there were more.
bool cut_right(Sample& sample, std::int64_t most) {
  if (static_cast<std::int64_t>(sample.ids.size()) <= most) return false;
  sample.ids.resize(static_cast<std::size_t>(most));
  sample.trained.resize(static_cast<std::size_t>(most));
  return true;
}

/// What a row holds as text was read from JSON, so that it can be read again.
ordered_json json_of(const std::string& text) {
  auto json = train::parse_strict(text, {});
  return json ? *std::move(json) : ordered_json();
}

void add_messages(const Messages& messages, ordered_json& to) {
  for (const train::Message& message : messages) {
    ordered_json json = {{"role", message.role}, {"content", message.content}};
    if (!message.more.empty()) {
      ordered_json more = json_of(message.more);
      for (auto& [key, value] : more.items()) train::append(json, key, std::move(value));
    }
    to.push_back(std::move(json));
  }
}

}  // namespace

Result<SampleMaker> SampleMaker::make(tokenizer::Tokenizer tokenizer, const model::ChatTemplate* chat,
                                      const SampleRules& rules, std::string file) {
  if (rules.sequence < 2) return Error{"a sample has at least 2 tokens: one is told from the other"};
  SampleMaker maker(std::move(tokenizer), chat, rules, std::move(file));
  if (maker.rules_.prompt <= 0) maker.rules_.prompt = rules.sequence;
  const auto encoding = maker.tokenizer_.encode_with_places("a");
  if (!encoding) return encoding.error();
  // Tokens that were put there have no place in the text.
  const auto last = std::find_if(encoding->places.rbegin(), encoding->places.rend(),
                                 [](const tokenizer::Span& place) { return place.end > place.begin; });
  if (last != encoding->places.rend()) maker.closing_ = static_cast<std::size_t>(last - encoding->places.rbegin());
  return maker;
}

Result<std::vector<std::int32_t>> SampleMaker::encode_open(const std::string& text) const {
  auto ids = tokenizer_.encode(text);
  if (!ids) return ids.error();
  ids->resize(ids->size() - std::min(closing_, ids->size()));
  return signed_ids(*ids);
}

bool SampleMaker::ends(std::int32_t id) const {
  const std::vector<TokenId>& ends = tokenizer_.specials().eos;
  return std::find(ends.begin(), ends.end(), static_cast<TokenId>(id)) != ends.end();
}

std::vector<Sample> SampleMaker::text(const train::Row& row, Diagnostics& diagnostics) {
  std::vector<Sample> blocks;
  const std::vector<TokenId>& ends = tokenizer_.specials().eos;
  const auto ids = encode_open(std::get<train::Text>(row.what).text);
  if (!ids || ends.empty()) {
    diagnostics.error(place(row.line), ids ? "the tokenizer has no token that ends a text" : ids.error().what);
    return blocks;
  }
  const auto add = [&](std::int32_t id) {
    if (block_.ids.empty()) block_.line = row.line;
    block_.ids.push_back(id);
    if (static_cast<std::int64_t>(block_.ids.size()) < rules_.sequence) return;
    blocks.push_back(marked(std::exchange(block_.ids, {}), 1));
    blocks.back().line = block_.line;
  };
  for (const std::int32_t id : *ids) add(id);
  if (ids->empty() || !this->ends(ids->back())) add(static_cast<std::int32_t>(ends.front()));
  counts_.made += static_cast<std::int64_t>(blocks.size());
  return blocks;
}

std::optional<Sample> SampleMaker::rest() {
  std::vector<std::int32_t> ids = std::exchange(block_.ids, {});
  if (ids.size() < 2) return std::nullopt;
  Sample sample = marked(std::move(ids), 1);
  sample.line = block_.line;
  ++counts_.made;
  return sample;
}

Result<SampleMaker::Whole> SampleMaker::plain(const std::string& prompt, const std::string& completion) const {
  if (tokenizer_.specials().eos.empty())
    return Error{"the tokenizer has no token that ends a text: no answer could be taught to end"};
  const auto before = encode_open(prompt);
  if (!before) return before.error();
  auto all = encode_open(prompt + completion);
  if (!all) return all.error();
  const std::size_t shared = common_beginning(*before, *all);
  // A completion may have written the token itself.
  if (shared == all->size() || !ends(all->back()))
    all->push_back(static_cast<std::int32_t>(tokenizer_.specials().eos.front()));
  return Whole{marked(*std::move(all), shared), shared < before->size()};
}

Result<tmpl::Rendered> SampleMaker::render(const Messages& prompt, const Messages& completion, const std::string& tools,
                                           bool asks) const {
  if (!chat_) return Error{"messages are written by a chat template, and the model has none"};
  model::Chat chat;
  add_messages(prompt, chat.messages);
  add_messages(completion, chat.messages);
  if (!tools.empty()) chat.tools = json_of(tools);
  chat.add_generation_prompt = asks;
  return chat_->render(chat);
}

Result<SampleMaker::Whole> SampleMaker::talk(const Messages& prompt, const Messages& completion, bool every_turn,
                                             const std::string& tools) const {
  const auto whole = render(prompt, completion, tools, false);
  if (!whole) return whole.error();
  const bool is_marked = !whole->generated.empty();
  const auto is_others = [](const train::Message& message) { return message.role != "assistant"; };
  if (!is_marked && std::any_of(completion.begin(), completion.end(), is_others))
    return Error{
        "the completion has messages that are not the assistant's, and the model's chat template does not say "
        "which text is whose ({% generation %})"};
  if (is_marked && every_turn) {
    const auto encoding = tokenizer_.encode_with_places(whole->text, false);
    if (!encoding) return encoding.error();
    return Whole{marked(*encoding, whole->generated, 0)};
  }
  const auto asked = render(prompt, {}, tools, true);
  if (!asked) return asked.error();
  std::size_t begin = asked->text.size();
  if (!whole->text.starts_with(asked->text)) {
    // The assistant's turn may begin otherwise when it is over (Qwen3 closes an empty thought), but not what is before.
    const auto before = render(prompt, {}, tools, false);
    if (!before) return before.error();
    if (!whole->text.starts_with(before->text))
      return Error{
          "the model's chat template writes the prompt in another way when the answer follows, so what is the "
          "answer's cannot be told"};
    begin = before->text.size();
  }
  if (is_marked) {
    const auto encoding = tokenizer_.encode_with_places(whole->text, false);
    if (!encoding) return encoding.error();
    return Whole{marked(*encoding, whole->generated, begin)};
  }
  const auto all = tokenizer_.encode(whole->text, false), before = tokenizer_.encode(asked->text, false);
  if (!all) return all.error();
  if (!before) return before.error();
  const auto ids = signed_ids(*all), prompt_ids = signed_ids(*before);
  const std::size_t shared = common_beginning(prompt_ids, ids);
  return Whole{marked(ids, shared), shared < prompt_ids.size()};
}

Result<SampleMaker::Whole> SampleMaker::whole(const Said& prompt, const Said& completion, bool every_turn,
                                              const std::string& tools) const {
  auto made = prompt.is_chat() ? talk(prompt.messages, completion.messages, every_turn, tools)
                               : plain(prompt.text, completion.text);
  if (made && !is_trained_on(made->sample)) return Error{"no token of it is the assistant's, so nothing is trained on"};
  return made;
}

Result<SampleMaker::Whole> SampleMaker::of_row(const train::Row& row) const {
  if (const auto* it = std::get_if<train::Conversation>(&row.what)) {
    Said prompt{{}, {it->messages.begin(), it->messages.end() - 1}}, last{{}, {it->messages.back()}};
    return whole(prompt, last, true, row.tools);
  }
  if (const auto* it = std::get_if<train::Instruction>(&row.what)) {
    if (!chat_) return whole({alpaca(*it), {}}, {it->output, {}}, false, {});
    const std::string asked = it->instruction + (it->input.empty() ? "" : "\n\n" + it->input);
    return whole({{}, {{"user", asked, {}}}}, {{}, {{"assistant", it->output, {}}}}, false, {});
  }
  const auto& it = std::get<train::Completion>(row.what);
  return whole(it.prompt, it.completion, false, row.tools);
}

void SampleMaker::note(const Whole& whole, int line, Diagnostics& diagnostics) {
  constexpr const char* kUneven =
      "a token covers the prompt's end and the completion's beginning, and is trained on; so it may be in other rows";
  constexpr const char* kEndless =
      "the chat template ends the assistant's words with no token that ends an answer: the model does not learn to "
      "stop";
  // Once for a file, of which several makers may make samples.
  const auto warn = [&](const char* what) {
    const std::vector<Problem>& said = diagnostics.warnings();
    if (std::none_of(said.begin(), said.end(), [&](const Problem& it) { return it.what == what; }))
      diagnostics.warn(place(line), what);
  };
  if (whole.uneven) {
    ++counts_.uneven;
    warn(kUneven);
  }
  const Sample& sample = whole.sample;
  bool ends_somewhere = tokenizer_.specials().eos.empty();
  for (std::size_t i = 0; i < sample.ids.size() && !ends_somewhere; ++i)
    ends_somewhere = sample.trained[i] != 0 && ends(sample.ids[i]);
  if (!ends_somewhere) warn(kEndless);
}

std::optional<Sample> SampleMaker::instruction(const train::Row& row, Diagnostics& diagnostics) {
  auto made = of_row(row);
  if (!made) {
    diagnostics.error(place(row.line), made.error().what);
    return std::nullopt;
  }
  note(*made, row.line, diagnostics);
  Sample& sample = made->sample;
  sample.line = row.line;
  const bool was_cut = cut_right(sample, rules_.sequence);
  if (!is_trained_on(sample)) {
    ++counts_.dropped;
    return std::nullopt;
  }
  ++counts_.made;
  counts_.cut += was_cut;
  return std::move(sample);
}

void SampleMaker::cut_left(Sample& sample, std::int64_t count, std::size_t end) const {
  const std::optional<TokenId> bos = tokenizer_.specials().bos;
  if (count <= 0 || end < 2) return;
  const bool begun = bos && sample.ids[0] == static_cast<std::int32_t>(*bos);
  const auto from = static_cast<std::ptrdiff_t>(begun);
  const auto to = from + static_cast<std::ptrdiff_t>(std::min<std::size_t>(static_cast<std::size_t>(count), end - 1));
  sample.ids.erase(sample.ids.begin() + from, sample.ids.begin() + to);
  if (!sample.trained.empty()) sample.trained.erase(sample.trained.begin() + from, sample.trained.begin() + to);
}

std::optional<SamplePair> SampleMaker::preference(const train::Row& row, Diagnostics& diagnostics) {
  const auto& it = std::get<train::Preference>(row.what);
  auto chosen = whole(it.prompt, it.chosen, false, row.tools),
       rejected = whole(it.prompt, it.rejected, false, row.tools);
  if (!chosen || !rejected) {
    diagnostics.error(place(row.line), chosen ? rejected.error().what : chosen.error().what);
    return std::nullopt;
  }
  note(chosen->uneven ? *chosen : *rejected, row.line, diagnostics);
  // Both answers begin at the earlier place: what of the prompt one of them writes in other tokens the other has to
  // account for, too.
  if (chosen->uneven || rejected->uneven) {
    Sample &one = chosen->sample, &other = rejected->sample;
    const std::size_t begin = std::min(first_trained(one), first_trained(other));
    for (Sample* sample : {&one, &other})
      std::fill(sample->trained.begin() + static_cast<std::ptrdiff_t>(begin),
                sample->trained.begin() + static_cast<std::ptrdiff_t>(first_trained(*sample)), std::uint8_t{1});
  }
  SamplePair pair{std::move(chosen->sample), std::move(rejected->sample)};
  const auto longest = static_cast<std::int64_t>(std::max(pair.chosen.ids.size(), pair.rejected.ids.size()));
  for (Sample* sample : {&pair.chosen, &pair.rejected}) {
    sample->line = row.line;
    cut_left(*sample, longest - rules_.sequence, first_trained(*sample));
    cut_right(*sample, rules_.sequence);
  }
  if (pair.chosen.ids == pair.rejected.ids || !is_trained_on(pair.chosen) || !is_trained_on(pair.rejected)) {
    ++counts_.dropped;
    return std::nullopt;
  }
  ++counts_.made;
  counts_.cut += longest > rules_.sequence;
  return pair;
}

std::optional<PromptSample> SampleMaker::prompt(const train::Row& row, Diagnostics& diagnostics) {
  const auto& it = std::get<train::Prompt>(row.what);
  Sample sample;
  std::optional<Error> error;
  if (it.prompt.is_chat()) {
    const auto asked = render(it.prompt.messages, {}, row.tools, true);
    const auto ids = asked ? tokenizer_.encode(asked->text, false) : Result<std::vector<TokenId>>(asked.error());
    if (ids)
      sample.ids = signed_ids(*ids);
    else
      error = ids.error();
  } else if (auto ids = encode_open(it.prompt.text); ids) {
    sample.ids = *std::move(ids);
  } else {
    error = ids.error();
  }
  if (!error && sample.ids.empty()) error = Error{"the prompt has no tokens"};
  if (error) {
    diagnostics.error(place(row.line), error->what);
    return std::nullopt;
  }
  const std::int64_t over = static_cast<std::int64_t>(sample.ids.size()) - rules_.prompt;
  cut_left(sample, over, sample.ids.size());
  ++counts_.made;
  counts_.cut += over > 0;
  return PromptSample{std::move(sample.ids), it.other, row.line};
}

}  // namespace orch::texts
