// Chat templates against what Jinja2 makes of them as transformers sets it up: tests/model/chat/data/, recorded by
// scripts/check-chat-templates --record.
#include "model/chat/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>

#include "base/digest.h"
#include "chat_json.h"
#include "support/source_dir.h"
#include "support/temporary.h"

namespace {

using namespace orch;
using namespace orch::model;
using nlohmann::ordered_json;
namespace fs = std::filesystem;

fs::path data() { return orch::test::source_dir() / "tests/model/chat/data"; }

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

ordered_json json_of(const char* name) { return ordered_json::parse(contents(data() / name)); }

/// Those that the recordings have.
ordered_json tokens() {
  return {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}};
}

Chat chat(const char* messages) {
  Chat chat;
  chat.messages = ordered_json::parse(messages);
  return chat;
}

constexpr const char* kTwo = R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])";

std::string said(const ChatTemplate& made, const Chat& chat) {
  const auto rendered = made.render(chat);
  return rendered ? rendered->text : "error: " + rendered.error().what;
}

std::string said(std::string_view text, const Chat& chat) {
  const auto made = ChatTemplate::parse(text, "t.jinja", tokens());
  return made ? said(*made, chat) : "error: " + made.error().what;
}

TEST(ChatTemplates, OfEachFamilyGiveWhatTransformersGives) {
  std::map<std::string, ordered_json> conversations;
  for (const auto& one : json_of("conversations.json")) conversations[one.at("name")] = one;
  std::map<std::string, ChatTemplate> templates;
  std::size_t texts = 0, raised = 0, spans = 0;
  const ordered_json recorded = json_of("expected.json");
  for (const auto& expected : recorded.at("cases")) {
    const std::string file = expected.at("template"), name = expected.at("conversation");
    if (!templates.contains(file)) {
      const auto made = ChatTemplate::parse(contents(data() / "templates" / file), file, tokens());
      ASSERT_TRUE(made.ok()) << made.error().what;
      templates.emplace(file, *made);
    }
    Chat chat = recordings::chat_of(conversations.at(name));
    chat.add_generation_prompt = expected.at("prompt");
    const auto got = templates.at(file).render(chat);
    const std::string where = file + ", " + name;
    if (expected.contains("text")) {
      ++texts;
      ASSERT_TRUE(got.ok()) << where << ": " << got.error().what;
      EXPECT_EQ(got->text, expected.at("text").get<std::string>()) << where;
      ordered_json marked = ordered_json::array();
      for (const tmpl::Span& span : got->generated) marked.push_back({span.from, span.to});
      EXPECT_EQ(marked, expected.value("generated", ordered_json::array())) << where;
      spans += marked.size();
      continue;
    }
    ASSERT_FALSE(got.ok()) << where << "\nrendered: " << got->text;
    if (!expected.contains("raised")) continue;
    ++raised;
    // The template's own words, behind its name and the place where it raises them.
    EXPECT_TRUE(got.error().what.starts_with(file + ":")) << got.error().what;
    EXPECT_TRUE(got.error().what.ends_with(": " + expected.at("raised").get<std::string>()) ||
                got.error().what.ends_with(" " + expected.at("raised").get<std::string>()))
        << got.error().what;
  }
  EXPECT_EQ(templates.size(), 20u);
  EXPECT_GE(texts, 800u);
  EXPECT_GE(raised, 100u);
  EXPECT_GE(spans, 30u);
}

TEST(ChatTemplates, AgreeWithJinjaOnRandomExpressionsAndStatements) {
  const ordered_json recorded = json_of("expressions.json");
  std::size_t texts = 0;
  for (const auto& expected : recorded.at("cases")) {
    const std::string text = expected.at(0);
    const auto parsed = tmpl::Template::parse(text, "t", tmpl::chat_options());
    const auto got =
        parsed ? parsed->render(recorded.at("values")) : Result<std::string, tmpl::TemplateError>(parsed.error());
    if (expected.at(1).is_null()) {
      EXPECT_FALSE(got.ok()) << text << "\nrendered: " << *got;
      continue;
    }
    ++texts;
    ASSERT_TRUE(got.ok()) << text << "\n" << got.error().what;
    EXPECT_EQ(to_hex(sha256(*got)).substr(0, 16), expected.at(1).get<std::string>()) << text << "\nrendered: " << *got;
  }
  EXPECT_GE(texts, 1500u);
}

class ChatTemplateFolder : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    fs::create_directories((folder_.path() / name).parent_path());
    std::ofstream(folder_.path() / name, std::ios::binary) << text;
  }
  std::string opened_and_said(const Chat& chat) {
    const auto made = ChatTemplate::open(folder_.path());
    return made ? said(*made, chat) : "error: " + made.error().what;
  }

  orch::test::TemporaryFolder folder_;
};

TEST_F(ChatTemplateFolder, GivesTheTemplateAndTheTokensOfTheTokenizer) {
  write("tokenizer_config.json",
        R"j({"chat_template": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ pad_token }}",
             "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null})j");
  EXPECT_EQ(opened_and_said(chat(kTwo)), "<s>a</s>");
  // What the tokenizer leaves open, the map of special tokens says; what it says, it says.
  write("special_tokens_map.json", R"({"bos_token": "<other>", "pad_token": {"content": "<pad>"}})");
  EXPECT_EQ(opened_and_said(chat(kTwo)), "<s>a</s><pad>");
}

TEST_F(ChatTemplateFolder, PrefersTheTemplateThatIsAFile) {
  write("tokenizer_config.json", R"({"chat_template": "config"})");
  write("chat_template.json", R"({"chat_template": "processor"})");
  EXPECT_EQ(opened_and_said(chat(kTwo)), "config");
  write("chat_template.jinja", "file\n");
  EXPECT_EQ(opened_and_said(chat(kTwo)), "file");
  write("additional_chat_templates/rag.jinja", "more");
  Chat other = chat(kTwo);
  other.name = "rag";
  EXPECT_EQ(opened_and_said(other), "more");
  fs::remove(folder_.path() / "chat_template.jinja");
  fs::remove(folder_.path() / "tokenizer_config.json");
  EXPECT_EQ(opened_and_said(chat(kTwo)), "processor");
}

TEST_F(ChatTemplateFolder, OfSeveralTemplatesTakesTheOneForTools) {
  write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "plain"},
                                                       {"name": "tool_use", "template": "{{ tools|length }} tools"}]})");
  EXPECT_EQ(opened_and_said(chat(kTwo)), "plain");
  Chat with_tools = chat(kTwo);
  with_tools.tools = ordered_json::parse(R"([{"type": "function"}])");
  EXPECT_EQ(opened_and_said(with_tools), "1 tools");
  with_tools.name = "default";
  EXPECT_EQ(opened_and_said(with_tools), "plain");
  with_tools.name = "tool_uses";
  EXPECT_EQ(opened_and_said(with_tools), "error: the model has no chat template 'tool_uses'; did you mean 'tool_use'?");
}

TEST_F(ChatTemplateFolder, SaysWhatIsWrongWithIt) {
  EXPECT_NE(opened_and_said(chat(kTwo)).find("has no chat template: no chat_template.jinja"), std::string::npos);
  write("tokenizer_config.json", R"({"bos_token": "<s>"})");
  EXPECT_NE(opened_and_said(chat(kTwo)).find("has no chat template"), std::string::npos);
  for (const auto& [text, expected] : std::map<std::string, std::string>{
           {"{", "tokenizer_config.json is not JSON"},
           {"[]", "tokenizer_config.json is not a map"},
           {"{\"chat_template\": \"\xff\"}", "is not JSON"},
           {R"({"chat_template": 3})", "chat_template is a text or a list of named texts"},
           {R"({"chat_template": [3]})", "has a name and a template"},
           {R"({"chat_template": []})", "is empty"},
           {R"({"chat_template": [{"name": "a", "template": "x"}]})", "none is called 'default': a"},
           {R"({"chat_template": "x\n{{ 1 + }}"})", "tokenizer_config.json:2:8: expected a value"},
           {R"({"chat_template": [{"name": "default", "template": "{% if %}"}]})",
            "tokenizer_config.json (default):1:"}}) {
    write("tokenizer_config.json", text);
    EXPECT_NE(opened_and_said(chat(kTwo)).find(expected), std::string::npos) << opened_and_said(chat(kTwo));
  }
  write("tokenizer_config.json", "{\"chat_template\": \"" + std::string(std::size_t{2} << 20, 'x') + "\"}");
  EXPECT_NE(opened_and_said(chat(kTwo)).find("more than 1 MiB"), std::string::npos) << opened_and_said(chat(kTwo));
}

TEST(ChatTemplates, RaiseTheirOwnErrorsWithTheirPlace) {
  EXPECT_EQ(said("{% if messages %}\n  {{ raise_exception('No ' ~ messages[0].role ~ '!') }}\n{% endif %}", chat(kTwo)),
            "error: t.jinja:2:21: No user!");
}

TEST_F(ChatTemplateFolder, WithoutATemplateIsToldFromOneWithABrokenOne) {
  write("tokenizer_config.json", R"({"eos_token": "</s>"})");
  const auto none = ChatTemplate::find(folder_.path());
  ASSERT_TRUE(none.ok()) << none.error().what;
  EXPECT_FALSE(none->has_value());
  write("chat_template.jinja", "{% if %}");
  EXPECT_FALSE(ChatTemplate::find(folder_.path()).ok());
  write("chat_template.jinja", "{{ messages[0].content }}");
  const auto there = ChatTemplate::find(folder_.path());
  ASSERT_TRUE(there.ok() && there->has_value());
  EXPECT_EQ(said(**there, chat(kTwo)), "a");
}

TEST(ChatTemplates, HaveNoClockButTheOneTheyAreGiven) {
  constexpr std::string_view kText =
      "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y %-d.%-m. %A %H:%M:%S %j %I %p') }}{% else %}no{% "
      "endif %}";
  Chat now = chat(kTwo);
  EXPECT_EQ(said(kText, now), "no");
  // 26 July is day 31 + 28 + 31 + 30 + 31 + 30 + 26 = 207 of 2026, and a Sunday (1 January 2026 is a Thursday).
  now.now = recordings::recorded_now();
  EXPECT_EQ(said(kText, now), "26 Jul 2026 26.7. Sunday 09:05:03 207 09 AM");
}

TEST(ChatTemplates, FindThoughtsByTheNamesThatTransformersGivesThem) {
  constexpr std::string_view kText =
      "{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }}|{{ m.reasoning }}\n{% endfor %}";
  EXPECT_EQ(said(kText, chat(R"([{"role": "assistant", "reasoning": "r"}, {"role": "assistant", "thinking": "t"},
                                 {"role": "assistant", "reasoning_content": "c", "thinking": "t"}, {"role": "user"}])")),
            "r|r|r\nt|t|\nc|t|\n||\n");
}

TEST(ChatTemplates, EndInTheMiddleOfTheLastMessage) {
  Chat goes_on = chat(kTwo);
  goes_on.continue_final_message = true;
  constexpr std::string_view kKeeps = "{% for m in messages %}<{{ m.content }}>{% endfor %}";
  EXPECT_EQ(said(kKeeps, goes_on), "<a><b");
  EXPECT_EQ(said("{% for m in messages %}<{{ m.content | trim }}>{% endfor %}", goes_on), "<a><b");
  EXPECT_NE(said("{{ messages[0].content }}", goes_on).find("leaves parts of it out"), std::string::npos);
  EXPECT_NE(said("{{ messages[0].role }}", goes_on).find("reads no 'content'"), std::string::npos);
  goes_on.add_generation_prompt = true;
  EXPECT_NE(said(kKeeps, goes_on).find("cannot both"), std::string::npos);
  goes_on.add_generation_prompt = false;
  for (const char* messages : {"[]", R"([{"role": "assistant"}])", R"([{"role": "assistant", "content": 3}])",
                               R"([{"role": "assistant", "content": [{"type": "image"}]}])"}) {
    goes_on.messages = ordered_json::parse(messages);
    EXPECT_TRUE(said(kKeeps, goes_on).starts_with("error: there is n")) << said(kKeeps, goes_on);
  }
}

TEST(ChatTemplates, MarkWhatTheAssistantSaid) {
  const auto made = ChatTemplate::parse(
      "é{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}!{% endgeneration %}{% "
      "else %}{{ "
      "m.content }}{% endif %};{% endfor %}",
      "t.jinja");
  ASSERT_TRUE(made.ok()) << made.error().what;
  Chat marked =
      chat(R"([{"role": "user", "content": "ü"}, {"role": "assistant", "content": "ö"}, {"role": "user", "content": ""},
                         {"role": "assistant", "content": "x"}])");
  auto rendered = made->render(marked);
  ASSERT_TRUE(rendered.ok()) << rendered.error().what;
  EXPECT_EQ(rendered->text, "éü;ö!;;x!;");
  // In bytes: é, ü and ö have two each.
  EXPECT_EQ(rendered->generated, (std::vector<tmpl::Span>{{5, 8}, {10, 12}}));
  marked.continue_final_message = true;
  rendered = made->render(marked);
  ASSERT_TRUE(rendered.ok()) << rendered.error().what;
  EXPECT_EQ(rendered->text, "éü;ö!;;x");
  EXPECT_EQ(rendered->generated, (std::vector<tmpl::Span>{{5, 8}, {10, 11}}));
}

TEST(ChatTemplates, SeeWhatTheyAreGivenAndNothingElse) {
  Chat given = chat(kTwo);
  given.variables = {{"enable_thinking", false}, {"bos_token", "mine"}, {"messages", "not these"}};
  EXPECT_EQ(
      said("{{ enable_thinking }} {{ bos_token }}{{ eos_token }} {{ messages|length }} {{ tools }} {{ documents }}",
           given),
      "False mine</s> 2 None None");
  for (const char* text : {"{% include 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}",
                           "{% block x %}{% endblock %}"})
    EXPECT_NE(said(text, given).find("stands alone"), std::string::npos) << said(text, given);
  for (const char* text : {"{{ messages.append(1) }}", "{{ messages[0].update({}) }}", "{{ messages[0].pop('role') }}",
                           "{{ ''.__class__.__mro__ }}", "{{ messages.__init__() }}", "{{ namespace(__x=1) }}",
                           "{% set ns = namespace() %}{% set ns._x = 1 %}"})
    EXPECT_TRUE(said(text, given).starts_with("error: ")) << text << ": " << said(text, given);
}

TEST(ChatTemplates, RefuseConversationsThatAreNone) {
  for (const char* messages : {"{}", "3", "[3]", R"([["role"]])"})
    EXPECT_TRUE(said("x", chat(messages)).starts_with("error: messages")) << said("x", chat(messages));
  Chat wrong = chat(kTwo);
  wrong.tools = "all";
  EXPECT_EQ(said("x", wrong), "error: tools are a list, not string");
  wrong = chat(kTwo);
  wrong.documents = ordered_json::array({1});
  EXPECT_EQ(said("x", wrong), "error: documents: number 1 is number, not a map");
  wrong = chat(kTwo);
  wrong.variables = 1;
  EXPECT_TRUE(said("x", wrong).starts_with("error: "));
  wrong = chat(kTwo);
  ordered_json deep = "x";
  for (int i = 0; i < 5000; ++i) deep = ordered_json::array({std::move(deep)});
  wrong.messages[0]["content"] = std::move(deep);
  EXPECT_NE(said("x", wrong).find("nested more than 100 deep"), std::string::npos);
}

TEST(ChatTemplates, EndWithinTheirLimits) {
  for (const auto& [text, expected] : std::map<std::string, std::string>{
           {"{% for i in range(99999) %}{{ range(99999)|length }}{% endfor %}", "5,000,000 steps"},
           {"{% set ns = namespace(x='x') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            "16777216 bytes"},
           {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deep"},
           {"{% for i in [[1]] recursive %}{{ loop([i]) }}{% endfor %}", "deep"},
           {"{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}", "deep"},
           {"{{ '{:999999999}'.format(1) }}", "16777216 bytes"},
           {"{{ '%999999999d' % 1 }}", "16777216 bytes"},
           {"{{ 'x'.center(999999999999) }}", "16777216 bytes"},
           {"{{ [1]|batch(999999999)|list }}", "100,000"},
           {"{{ dict(**{1: 2}) }}", "named by a text"},
           {"{% set ns = namespace(l=none) %}{% for i in range(300) recursive %}{% set ns.l = [ns.l, loop] %}{% endfor "
            "%}x",
            "deep"}})
    EXPECT_NE(said(text, chat(kTwo)).find(expected), std::string::npos)
        << text << ": " << said(text, chat(kTwo)).substr(0, 300);
}

TEST(ChatTemplates, TagsOfTheirsAreNoneInScripts) {
  for (const char* text : {"{% call f() %}{% endcall %}", "{% filter upper %}{% endfilter %}",
                           "{% with a = 1 %}{% endwith %}", "{% generation %}{% endgeneration %}"}) {
    const auto parsed = tmpl::Template::parse("#!/bin/sh\n" + std::string(text), "t", tmpl::shell_options());
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_TRUE(parsed.error().what.starts_with("no tag ")) << parsed.error().what;
  }
  const auto parsed =
      tmpl::Template::parse("#!/bin/sh\n{% for i in x recursive %}{% endfor %}", "t", tmpl::shell_options());
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().what, "recursive loops are not part of this language");
}

}  // namespace
