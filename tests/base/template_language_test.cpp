// The language, against what Jinja2 itself answers: tests/base/data/template_cases.json, recorded by
// scripts/record-template-cases.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "base/template/template.h"
#include "support/source_dir.h"

namespace {

using namespace orch::tmpl;
using nlohmann::ordered_json;

struct Case {
  std::string text;
  ordered_json values;
  Options options;
  std::map<std::string, std::string> includes;
  std::optional<std::string> answer;  ///< nothing: Jinja raises
};

std::vector<Case> recorded() {
  std::ifstream file(orch::test::source_dir() / "tests/base/data/template_cases.json");
  const ordered_json all = ordered_json::parse(file);
  std::vector<Case> cases;
  for (const auto& entry : all.at("cases")) {
    Case found;
    found.text = entry.at("template").get<std::string>();
    found.values = entry.at("values");
    found.options.strict = false;
    if (entry.contains("options")) {
      for (const auto& [key, value] : entry.at("options").items()) {
        if (key == "trim_blocks") found.options.trim_blocks = value.get<bool>();
        if (key == "lstrip_blocks") found.options.lstrip_blocks = value.get<bool>();
        if (key == "keep_trailing_newline") found.options.keep_trailing_newline = value.get<bool>();
        if (key == "strict") found.options.strict = value.get<bool>();
        if (key == "chat") found.options.html_json = !value.get<bool>();
        if (key == "includes") found.includes = value.get<std::map<std::string, std::string>>();
      }
    }
    if (entry.contains("text")) found.answer = entry.at("text").get<std::string>();
    cases.push_back(std::move(found));
  }
  return cases;
}

struct Outcome {
  std::optional<std::string> text;
  TemplateError error;
};

Outcome outcome(const std::string& text, const ordered_json& values, const Options& options = {},
                const Loader& loader = {}) {
  const auto parsed = Template::parse(text, "t.jinja", options, loader);
  if (!parsed) return {std::nullopt, parsed.error()};
  auto rendered = parsed->render(values);
  if (!rendered) return {std::nullopt, rendered.error()};
  return {*rendered, {}};
}

std::string place(const std::string& text, const ordered_json& values = ordered_json::object()) {
  const Outcome got = outcome(text, values);
  if (got.text) return "rendered: " + *got.text;
  return got.error.file + ":" + std::to_string(got.error.line) + ":" + std::to_string(got.error.column);
}

std::string what(const std::string& text, const ordered_json& values = ordered_json::object(),
                 const Options& options = {}) {
  const Outcome got = outcome(text, values, options);
  return got.text ? "rendered: " + *got.text : got.error.what;
}

TEST(TemplateLanguage, AnswersAsJinjaDoes) {
  const auto cases = recorded();
  ASSERT_GE(cases.size(), 150u);
  for (const Case& expected : cases) {
    const Loader loader = [&](const std::string& name) -> std::optional<std::string> {
      const auto found = expected.includes.find(name);
      if (found == expected.includes.end()) return std::nullopt;
      return found->second;
    };
    const Outcome got = outcome(expected.text, expected.values, expected.options, loader);
    if (expected.answer)
      EXPECT_EQ(got.text.value_or("error: " + got.error.what), *expected.answer) << expected.text;
    else
      EXPECT_FALSE(got.text.has_value()) << expected.text << "\nrendered: " << *got.text;
  }
}

TEST(TemplateLanguage, IntegersThatDoNotFitAreErrors) {
  // 2^63 - 1 = 9223372036854775807 is the last that fits.
  EXPECT_EQ(what("{{ 9223372036854775807 }}"), "rendered: 9223372036854775807");
  for (const char* text :
       {"{{ 9223372036854775808 }}", "{{ 9223372036854775807 + 1 }}", "{{ -9223372036854775807 - 2 }}",
        "{{ 4294967296 * 4294967296 }}", "{{ 2 ** 63 }}", "{{ -(-9223372036854775807 - 1) }}",
        "{{ (-9223372036854775807 - 1) // -1 }}", "{{ (-9223372036854775807 - 1)|abs }}",
        "{{ [9223372036854775807, 1]|sum }}", "{{ '9223372036854775808'|int }}", "{{ 1e19|int }}"})
    EXPECT_NE(what(text).find("fit into 64 bits"), std::string::npos) << text << ": " << what(text);
  EXPECT_EQ(what("{{ (-9223372036854775807 - 1) % -1 }}"), "rendered: 0");
  EXPECT_NE(what("{{ n }}", ordered_json::parse(R"({"n": 18446744073709551615})")).find("64 bits"), std::string::npos);
}

TEST(TemplateErrors, StandWhereTheMistakeIs) {
  EXPECT_EQ(place("one\ntwo {{ 1 + }}"), "t.jinja:2:12");
  EXPECT_EQ(place("a\n{% if x %}\nb"), "t.jinja:2:9");
  EXPECT_EQ(place("{% if true %}\n  {% endfor %}"), "t.jinja:2:6");
  EXPECT_EQ(place("\n\n   {{ missing }}"), "t.jinja:3:7");
  EXPECT_EQ(place("{{ 1 +\n  2 // 0 }}"), "t.jinja:2:5");
  EXPECT_EQ(place("a\r\nb\r\n{{ 'x' + 1 }}"), "t.jinja:3:8");
  EXPECT_EQ(place("{% set a = 1 %}\n{{ a | nosuch }}"), "t.jinja:2:8");
  EXPECT_EQ(place("{{ raise_exception('stop') }}"), "t.jinja:1:19");
}

TEST(TemplateErrors, InAnIncludedFileNameThatFile) {
  const Loader loader = [](const std::string& name) -> std::optional<std::string> {
    if (name == "inner") return "x\n {{ nothing }}";
    return std::nullopt;
  };
  const Outcome got = outcome("a\n{% include 'inner' %}", ordered_json::object(), {}, loader);
  EXPECT_EQ(got.error.file + ":" + std::to_string(got.error.line) + ":" + std::to_string(got.error.column),
            "inner:2:5");
}

TEST(TemplateErrors, SuggestWhatMayHaveBeenMeant) {
  EXPECT_EQ(what("{{ nodse }}", {{"nodes", 1}}), "'nodse' is not defined; did you mean 'nodes'?");
  EXPECT_EQ(what("{{ job.nmae }}", {{"job", {{"name", "x"}}}}),
            "'job.nmae': there is no 'nmae' in this map; did you mean 'name'?");
  EXPECT_EQ(what("{{ 1|uper }}"), "no filter 'uper'; did you mean 'upper'?");
  EXPECT_EQ(what("{{ 1 is definde }}"), "no test 'definde'; did you mean 'defined'?");
  EXPECT_EQ(what("{% fro x in y %}{% endfor %}"), "no tag 'fro'; did you mean 'for'?");
  EXPECT_EQ(what("{{ raise_exception('only pairs') }}"), "only pairs");
}

std::string times(std::size_t count, std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += text;
  return out;
}

TEST(TemplateLimits, NestingEndsInAnErrorAndNotInACrash) {
  const std::size_t n = 20'000;
  for (const std::string& text :
       {"{{ " + times(n, "(") + "1" + times(n, ")") + " }}", "{{ " + times(n, "[") + times(n, "]") + " }}",
        "{{ " + times(n, "{1:") + "1" + times(n, "}") + " }}", "{{ " + times(n, "not ") + "1 }}",
        "{{ " + times(n, "- ") + "1 }}", "{{ " + times(n, "1 + ") + "1 }}", "{{ x" + times(n, ".a") + " }}",
        "{{ x" + times(n, "|list") + " }}", "{{ x" + times(n, "[0") + times(n, "]") + " }}",
        "{{ " + times(n, "1 if 1 else ") + "1 }}", "{{ " + times(n, "f(") + " }}", times(n, "{% if 1 %}"),
        times(n, "{% for i in x %}") + times(n, "{% endfor %}"), "{{ x" + times(n, "()") + " }}",
        "{{ " + times(n, "1 is eq ") + "1 }}", "{{ " + times(n, "2 ** ") + "1 }}", times(n, "{% macro f() %}"),
        times(n, "{% set x %}")})
    EXPECT_EQ(what(text).find("rendered"), std::string::npos) << text.substr(0, 40);
  const ordered_json none = ordered_json::object();
  EXPECT_TRUE(outcome("{{ " + times(90, "(") + "1" + times(90, ")") + " }}", none).text);
  EXPECT_TRUE(outcome("{{ " + times(300, "1 + ") + "1 }}", none).text);
  EXPECT_TRUE(outcome(times(90, "{% if 1 %}") + "x" + times(90, "{% endif %}"), none).text);
  EXPECT_TRUE(outcome("{{ " + times(5000, "'a' ~ ") + "'b' }}", none).text);
}

TEST(TemplateLimits, RecursionEndsInAnErrorAndNotInACrash) {
  EXPECT_NE(what("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").find("deep"), std::string::npos);
  EXPECT_NE(
      what("{% macro f() %}{% if 1 %}{% if 1 %}{{ (((((f()))))) ~ 'x' }}{% endif %}{% endif %}{% endmacro %}{{ f() }}")
          .find("deep"),
      std::string::npos);
  const Loader itself = [](const std::string&) { return std::optional<std::string>("{% include 'a' %}"); };
  EXPECT_FALSE(outcome("{% include 'a' %}", ordered_json::object(), {}, itself).text);
  Options shell = shell_options();
  EXPECT_FALSE(outcome("{% include 'a' %}", ordered_json::object(), shell, itself).text);
  const Loader twice = [](const std::string&) {
    return std::optional<std::string>("{% include 'a' %}{% include 'a' %}");
  };
  EXPECT_FALSE(outcome("{% include 'a' %}", ordered_json::object(), shell, twice).text);
}

TEST(TemplateLimits, ValuesThatHoldThemselvesAreHarmless) {
  for (const char* text :
       {"{% set ns = namespace() %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace() %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == [ns.x] "
        "}}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% for i in range(300) %}{% for j in [ns.l] %}{% set ns.l = loop %}{% endfor %}{% "
        "endfor %}{{ ns.l }}"})
    EXPECT_EQ(what(text, ordered_json::object()).find("rendered"), std::string::npos) << text;
  // A chain of namespaces, and macros that see themselves, are taken apart without recursion.
  EXPECT_EQ(
      what("{% set o = namespace(n=none) %}{% for i in range(50000) %}{% set o.n = namespace(n=o.n) %}{% endfor %}x"),
      "rendered: x");
  EXPECT_EQ(what("{% macro f() %}{% set g = f %}{% macro h() %}{{ g }}{% endmacro %}{% endmacro %}{{ f() }}x"),
            "rendered: x");
  EXPECT_EQ(what("{% for i in [1, 2] %}{{ loop.changed(loop) }}{% endfor %}"), "rendered: TrueTrue");
}

TEST(TemplateLimits, WorkAndTextAreBounded) {
  Options options;
  options.most_output = 1000;
  EXPECT_EQ(what("{{ 'x' * 1000 }}", {}, options), "rendered: " + std::string(1000, 'x'));
  EXPECT_NE(what("{{ 'x' * 1001 }}", {}, options).find("too long"), std::string::npos);
  EXPECT_NE(what("{% for i in range(1001) %}x{% endfor %}", {}, options).find("1000 bytes"), std::string::npos);
  EXPECT_NE(what("{{ 'x' * 999 ~ 'ab' }}", {}, options).find("1000 bytes"), std::string::npos);
  EXPECT_NE(what("{{ ('x' * 500)|replace('x', 'abc') }}", {}, options).find("1000 bytes"), std::string::npos);
  EXPECT_NE(what("{{ ''|indent(2000, true) }}", {}, options).find("1000 bytes"), std::string::npos);
  EXPECT_NE(what("{{ range(100001) }}").find("100,000"), std::string::npos);
  EXPECT_NE(what("{{ range(-9223372036854775807, 9223372036854775807) }}").find("100,000"), std::string::npos);
  options = {};
  options.most_steps = 10'000;
  EXPECT_NE(what("{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}", {}, options)
                .find("10,000 steps"),
            std::string::npos);
  EXPECT_NE(what("{{ [1] * 100000000000 }}").find("too long"), std::string::npos);
}

TEST(TemplateLimits, AnyPrefixAndAnyChangedByteOfATemplateIsHarmless) {
  const std::string text =
      "#!/bin/bash\n"
      "{% macro f(a, b=[1, {'k': (2, 'x\\n')}]) -%} {{ a|default('q')|upper ~ b[0:1] }} {%- endmacro %}{% for k, v in "
      "m.items() if v is "
      "not none %}{{ loop.index }}{% set ns = namespace(x=1) %}{% set ns.x = ns.x ** 2 // 3 %}{% raw %}{{{% endraw "
      "%}{# c #}{% else "
      "%}{{ f(1, b=2) if m else \"é\" }}{% endfor %}$(a \"{{ m.a }}\" '{{ m.a }}' <<EOF\n{{ m.a }}\nEOF\n)";
  const ordered_json values = {{"m", {{"a", 1}, {"b", "x'\"$"}}}};
  std::size_t rendered = 0, refused = 0;
  const auto attempt = [&](const std::string& broken) {
    for (const Options& options : {Options{}, shell_options()})
      ++(outcome(broken, values, options).text ? rendered : refused);
  };
  for (std::size_t i = 0; i <= text.size(); ++i) attempt(text.substr(0, i));
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const char c : {'\0', '{', '}', '%', '\'', '"', '\\', '\xff', '(', '\n', '-', '|'}) {
      std::string broken = text;
      broken[i] = c;
      attempt(broken);
    }
  }
  EXPECT_EQ(rendered + refused, 2 * (text.size() + 1 + 12 * text.size()));
  EXPECT_GT(rendered, 0u);
  EXPECT_GT(refused, rendered);
}

TEST(TemplateLimits, BytesThatAreNotUtf8AreCharactersOfTheirOwn) {
  const ordered_json values = {{"s", "a\xff\xc3"}};
  EXPECT_EQ(what("{{ s|length }}{{ s[1] == s[2] }}", values), "rendered: 3False");
  EXPECT_EQ(what("{{ s|tojson }}", values), "rendered: \"a\\ufffd\\ufffd\"");
  EXPECT_EQ(what("{{ s|upper }}", values), "rendered: A\xff\xc3");
}

}  // namespace
