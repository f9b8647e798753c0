// Scripts: whatever a value holds, bash must get it back as it was. The scripts are run.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/template/template.h"

extern char** environ;

namespace {

using namespace orch::tmpl;
using nlohmann::ordered_json;
namespace fs = std::filesystem;

/// What an attacker, or a path with a space, may put into a value.
const std::vector<std::string>& hostile() {
  static const std::vector<std::string> kHostile = {"$(touch pwned)",
                                                    "`touch pwned`",
                                                    "\"",
                                                    "'",
                                                    "''",
                                                    "a'b\"c",
                                                    "line one\nline two",
                                                    "\n",
                                                    "\n\n",
                                                    "; touch pwned",
                                                    "| touch pwned",
                                                    "&& touch pwned",
                                                    "& touch pwned &",
                                                    "*",
                                                    "?",
                                                    "[a-z]*",
                                                    "~",
                                                    "~root",
                                                    "-rf",
                                                    "--help",
                                                    "-",
                                                    "h\u00e9llo \u2713 \u65e5\u672c",
                                                    "back\\",
                                                    "\\",
                                                    "\\\\",
                                                    "\\n",
                                                    "!",
                                                    "!!",
                                                    "!$",
                                                    "#",
                                                    "# not a comment",
                                                    "a#b",
                                                    " ",
                                                    "  two  ",
                                                    "\t",
                                                    "",
                                                    "$HOME",
                                                    "${HOME}",
                                                    "$((1+1))",
                                                    "$$",
                                                    "$",
                                                    "{a,b}",
                                                    "{1..3}",
                                                    "1..3",
                                                    "a b",
                                                    "(touch pwned)",
                                                    "$(touch pwned",
                                                    "\"$(touch pwned)\"",
                                                    "'$(touch pwned)'",
                                                    "'; touch pwned; '",
                                                    "\"; touch pwned; \"",
                                                    "EOF",
                                                    "EOF\ntouch pwned",
                                                    "> pwned",
                                                    "<(touch pwned)",
                                                    ">(touch pwned)",
                                                    "a=b",
                                                    "PATH=/nowhere",
                                                    "if",
                                                    "done",
                                                    "eval",
                                                    "12",
                                                    "2",
                                                    "1>pwned",
                                                    "\r",
                                                    "a\r\nb",
                                                    "\x01\x02\x7f",
                                                    "\xff\xfe",
                                                    "${IFS}",
                                                    "$'\\x41'",
                                                    "%s%n",
                                                    "\\$(touch pwned)",
                                                    "\\`touch pwned\\`",
                                                    "a[$(touch pwned)]",
                                                    "x;y",
                                                    "case",
                                                    "*)",
                                                    "esac",
                                                    "plain",
                                                    "path/to/file.txt",
                                                    "a:b",
                                                    "a,b",
                                                    "@(a|b)",
                                                    "+(a)",
                                                    "\x1b[31m"};
  return kHostile;
}

/// A folder of its own, gone with the test.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "orch-template-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

struct Finished {
  int status = -1;
  std::string out;
  std::vector<std::string> left;  ///< files in the folder it ran in
};

Finished run_with_bash(const std::string& script) {
  const Folder outside, inside;
  const fs::path script_path = outside.path() / "script", out_path = outside.path() / "out",
                 error_path = outside.path() / "err";
  std::ofstream(script_path, std::ios::binary) << script;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, out_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, error_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addchdir_np(&actions, inside.path().c_str());
  std::string bash = "/bin/bash", no_profile = "--norc", file = script_path.string();
  std::array<char*, 4> arguments = {bash.data(), no_profile.data(), file.data(), nullptr};
  pid_t child = 0;
  Finished run;
  const int spawned = posix_spawn(&child, bash.c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (spawned != 0) return run;
  int status = 0;
  waitpid(child, &status, 0);
  run.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  std::stringstream out, error;
  out << std::ifstream(out_path, std::ios::binary).rdbuf();
  error << std::ifstream(error_path, std::ios::binary).rdbuf();
  run.out = out.str() + error.str();
  for (const auto& entry : fs::directory_iterator(inside.path())) run.left.push_back(entry.path().filename().string());
  return run;
}

constexpr std::string_view kFirstLine = "#!/bin/bash\n";

/// The script, or `error at LINE:COLUMN: …` with lines counted from `first_line`.
std::string rendered_script(const std::string& text, const ordered_json& values, const Loader& loader = {},
                            int first_line = 1) {
  const auto error_text = [&](const TemplateError& error) {
    return "error at " + std::to_string(error.line - first_line + 1) + ":" + std::to_string(error.column) + ": " +
           error.what;
  };
  const auto parsed = Template::parse(text, "job.sbatch", shell_options(), loader);
  if (!parsed) return error_text(parsed.error());
  const auto script = parsed->render(values);
  return script ? *script : error_text(script.error());
}

/// A part of a script, as it is rendered below the script's first line.
std::string rendered(const std::string& part, const ordered_json& values, const Loader& loader = {}) {
  const std::string script = rendered_script(std::string(kFirstLine) + part, values, loader, 2);
  return script.starts_with(kFirstLine) ? script.substr(kFirstLine.size()) : script;
}

/// Whether the template is refused when it is parsed, before there are values.
std::string refused(const std::string& text) {
  const auto parsed = Template::parse(text, "job.sbatch", shell_options());
  return parsed ? "" : parsed.error().what;
}

ordered_json value(const std::string& text) {
  ordered_json values;
  values["v"] = text;
  return values;
}

constexpr const char* kShow = "show() { printf '%s\\0' \"$@\"; }\n";

/// Renders `place`, which shows words, with each hostile value, all in one script, and compares what bash printed.
void expect_literal(
    const std::string& place, const std::function<std::string(const std::string&)>& expected,
    const std::function<bool(const std::string&)>& applies = [](const std::string&) { return true; }) {
  std::string script = kShow, wanted;
  for (const std::string& hostile_text : hostile()) {
    if (!applies(hostile_text)) continue;
    const std::string part = rendered(place, value(hostile_text));
    ASSERT_FALSE(part.starts_with("error")) << place << ": " << part;
    script += part + "\n";
    wanted += expected(hostile_text);
  }
  const Finished run = run_with_bash(script);
  EXPECT_EQ(run.out, wanted) << place << "\n" << script;
  EXPECT_EQ(run.status, 0) << place;
  EXPECT_TRUE(run.left.empty()) << place << ": " << run.left.front();
}

std::string shown(const std::string& text) { return text + '\0'; }

/// What $( ) leaves of a text.
std::string without_last_newlines(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

TEST(TemplateShell, AnyValueIsOneLiteralWordWhereverItIsPrinted) {
  const auto alone = [](const std::string& v) { return shown(v); };
  for (const char* place : {
           "show {{ v }}",
           "show \"{{ v }}\"",
           "show '{{ v }}'",
           "x={{ v }}; show \"$x\"",
           "x=\"{{ v }}\"; show \"$x\"",
           "x=({{ v }}); show \"${x[@]}\"",
           "x=( {{ v }} ) # done\nshow \"${x[0]}\"",
           "declare -A x=([key]={{ v }}); show \"${x[key]}\"",
           "x[3]={{ v }}; show \"${x[3]}\"",
           "( show {{ v }} )",
           "{ show {{ v }}; }",
           "if true; then show {{ v }}; fi",
           "for x in {{ v }}; do show \"$x\"; done",
           "f() { show {{ v }}; }; f",
           "f() { show \"$1\"; }; f {{ v }} || exit 1",
           "x='a'; : ${x:-\"b\"} $(( (1 + 2) * 3 )) `echo hi`; show {{ v }}",
           "case {{ v }} in \"{{ v }}\") show {{ v }};; *) exit 1;; esac",
           "export X={{ v }}; show \"$X\"",
           "readarray -d '' x < <(printf '%s\\0' {{ v }}); show \"${x[0]}\"",
           "show \\\n  {{ v }}",
           "true && show {{ v }}",
           "[[ {{ v }} == {{ v }} ]] && show {{ v }}",
           "[ {{ v }} = \"{{ v }}\" ] && show {{ v }}",
           "echo it\\'s \\\" $'it\\'s' \"\\\"\" > /dev/null; show {{ v }}",
           "echo $$ $# $? {% raw %}${#x}{% endraw %} > /dev/null # {{ v }}\nshow {{ v }}",
           "# {{ v }}\nshow {{ v }}",
           "{% if v %}show {{ v }}{% else %}show ''{% endif %}",
           "{% for i in [v] %}show {{ i }}{% endfor %}",
           "{% set w = v ~ '' %}show {{ w }}",
           "{% set w %}{{ v }}{% endset %}show {{ w }}",
           "{% macro m(x) %}{{ x }}{% endmacro %}show {{ m(v) }}",
           "show {{ [v] | words }}",
       })
    expect_literal(place, alone);
}

TEST(TemplateShell, AValueStaysAPartOfItsWord) {
  expect_literal("show --name={{ v }}/x a{{ v }}b \"a{{ v }}b\" 'a{{ v }}b'", [](const std::string& v) {
    return shown("--name=" + v + "/x") + shown("a" + v + "b") + shown("a" + v + "b") + shown("a" + v + "b");
  });
  expect_literal("show {{ v }}{{ v }} \"{{ v }}\"{{ v }}'{{ v }}'",
                 [](const std::string& v) { return shown(v + v) + shown(v + v + v); });
  expect_literal("show ~{{ v }} {a,{{ v }}} {1{{ v }}}",
                 [](const std::string& v) { return shown("~" + v) + shown("a") + shown(v) + shown("{1" + v + "}"); });
  expect_literal("show {{ [v, 1, v] | words }} end",
                 [](const std::string& v) { return shown(v) + shown("1") + shown(v) + shown("end"); });
}

TEST(TemplateShell, CommandSubstitutionsAndSubshellsAreReadAlong) {
  const auto trimmed = [](const std::string& v) { return shown(without_last_newlines(v)); };
  expect_literal("show \"$(printf %s {{ v }})\"", trimmed);
  expect_literal("show \"$(printf %s \"{{ v }}\")\"", trimmed);
  expect_literal("show \"$(printf %s \"$(printf %s '{{ v }}')\")\"", trimmed);
  expect_literal("x=$(printf %s {{ v }}); show \"$x\"", trimmed);
  expect_literal("x=$( # a ) in a comment\n  printf %s {{ v }}\n); show \"$x\" {{ v }}",
                 [&](const std::string& v) { return trimmed(v) + shown(v); });
}

TEST(TemplateShell, HereDocumentsHoldValuesAsTheyAre) {
  const auto no_mark = [](const std::string& v) { return !v.starts_with("EOF"); };
  const auto line = [](const std::string& v) { return v + "\n"; };
  for (const char* place : {"cat <<EOF\n{{ v }}\nEOF", "cat <<'EOF'\n{{ v }}\nEOF", "cat <<\"EOF\" | cat\n{{ v }}\nEOF",
                            "cat <<\\EOF\n{{ v }}\nEOF", "cat << EOF; true\n{{ v }}\nEOF"})
    expect_literal(place, line, no_mark);
  expect_literal(
      "cat <<A - <<EOF\nnot shown\nA\n$(printf x) it's \"{{ v }}\" $x\nEOF\nshow {{ v }}",
      [](const std::string& v) { return "x it's \"" + v + "\" \n" + shown(v); }, no_mark);
  // <<- takes tabs away from every line, those of values too.
  expect_literal(
      "cat <<-EOF\n\tx{{ v }}\n\tEOF", [](const std::string& v) { return "x" + v + "\n"; }, no_mark);
}

TEST(TemplateShell, AValueCannotEndAHereDocument) {
  for (const char* place : {"cat <<EOF\n{{ v }}\nEOF\n", "cat <<'EOF'\n{{ v }}\nEOF\n"}) {
    EXPECT_NE(rendered(place, value("EOF")).find("ends the here-document"), std::string::npos);
    EXPECT_NE(rendered(place, value("EOF\ntouch pwned")).find("ends the here-document"), std::string::npos);
    EXPECT_NE(rendered(place, value("x\nEOF\ntouch pwned")).find("ends the here-document"), std::string::npos);
    EXPECT_EQ(rendered(place, value("EOFx\n EOF")).find("error"), std::string::npos);
  }
  EXPECT_NE(rendered("cat <<'EOF'\nE{{ v }}\nEOF\n", value("OF")).find("ends the here-document"), std::string::npos);
  EXPECT_NE(rendered("cat <<'EOF'\n{{ v }}F\nEOF\n", value("EO")).find("ends the here-document"), std::string::npos);
  EXPECT_NE(rendered("cat <<-EOF\n\t{{ v }}\nEOF\n", value("\tEOF")).find("ends the here-document"), std::string::npos);
}

TEST(TemplateShell, PlacesThatCannotBeMadeSafeAreRefusedBeforeThereAreValues) {
  EXPECT_EQ(refused("x=$(( {{ v }} + 1 ))"),
            "'v': cannot print into an arithmetic expansion; set a variable first and use that");
  for (const char* text : {"x=$[ {{ v }} ]",
                           "(( x = {{ v }} ))",
                           "for (( i = 0; i < {{ v }}; i++ )); do :; done",
                           "x=`echo {{ v }}`",
                           "x=\"`echo {{ v }}`\"",
                           "x=${y:-{{ v }}}",
                           "x=\"${y:-{{ v }}}\"",
                           "x=$'{{ v }}'",
                           "x[{{ v }}]=1",
                           "x=([{{ v }}]=1)",
                           "declare -A x=( [a]=1 [{{ v }}]=2 )",
                           "echo \\{{ v }}",
                           "echo \"\\{{ v }}\"",
                           "echo ${{ v }}",
                           "echo \"${{ v }}\"",
                           "echo $x{{ v }}",
                           "echo \"$x_{{ v }}\"",
                           "cat <<{{ v }}\n",
                           "cat <<E{{ v }}\nE\n",
                           "cat <<EOF\n$(echo {{ v }})\nEOF\n",
                           "cat <<EOF\n$(( {{ v }} ))\nEOF\n",
                           "cat <<EOF\n$x{{ v }}\nEOF\n",
                           "cat <<EOF\n\\{{ v }}\nEOF\n",
                           "eval {{ v }}",
                           "true; eval \"{{ v }}\"",
                           "let x={{ v }}",
                           "unset {{ v }}",
                           ">f eval {{ v }}",
                           "eval 2>&1 {{ v }}",
                           "[[ a == a ]]; eval {{ v }}",
                           "[[ a == a ]]&& eval {{ v }}",
                           "[[ {{ v }} -eq 1 ]]",
                           "[[ 1 -lt {{ v }} ]]",
                           "[[ ( {{ v }} -gt 1 ) ]]",
                           "[[ -v {{ v }} ]]",
                           "test -v {{ v }}",
                           "declare -i x={{ v }}",
                           "echo {{ v }}>f",
                           "{{ v }}() { :; }",
                           "{{ k }}[{{ v }}]=1",
                           "{{ v | safe }}",
                           "{{ v | raw }}",
                           "#{{ v }}",
                           "#SB{{ v }}",
                           "#SBATCH{{ v }}",
                           "#!{{ v }}",
                           "#PBS -N {{ v }}",
                           "{% if v %}'{% endif %}{{ v }}",
                           "{% for i in v %}\"{% endfor %}",
                           "\"{% for i in v %}\"{% break %}{% endfor %}\"",
                           "echo \"{{ v }}",
                           "echo '",
                           "$(case x in x) echo {{ v }};; esac)",
                           "( echo {{ v }}",
                           "cat <<EOF\n{{ v }}\n",
                           "{% include v %}",
                           "echo \"${x:-'{{ v }}'}\"",
                           "echo ${#x} {{ v }} #}",
                           "[[ x == {{ v }} && {{ v }} -eq 1 ]]"}) {
    EXPECT_NE(refused(text), "") << text << "\nrendered: " << rendered(text, {{"v", "1"}, {"k", "k"}});
  }
}

TEST(TemplateShell, RefusalsSayWhere) {
  EXPECT_EQ(rendered("a\nb \"c {{ v }}\n d $((1 + {{ w }}))\"", value("")).substr(0, 14), "error at 3:14:");
  EXPECT_EQ(rendered("ok\n  echo \"x\n{{ v }}\n", value("")).substr(0, 11), "error at 3:");
  EXPECT_EQ(rendered("a {{ v }}b\n  cat <<$x\n", value("")).substr(0, 13), "error at 2:7:");
}

TEST(TemplateShell, WhatIsNoTextIsRefusedWithAdvice) {
  EXPECT_NE(rendered("x={{ v }}", {{"v", ordered_json::array({"a", "b"})}}).find("| words"), std::string::npos);
  EXPECT_NE(rendered("x={{ v }}", {{"v", nullptr}}).find("'v': the value is none"), std::string::npos);
  EXPECT_NE(rendered("x={{ v }}", {{"v", {{"a", 1}}}}).find("a map has no place"), std::string::npos);
  EXPECT_NE(rendered("x={{ w }}", value("")).find("'w' is not defined"), std::string::npos);
  EXPECT_NE(rendered("x={{ v }}", value(std::string("a\0b", 3))).find("NUL"), std::string::npos);
  EXPECT_NE(rendered("x={{ [v] | words }}", value("a")).find("blank before"), std::string::npos);
  EXPECT_NE(rendered("x=\" {{ [v] | words }}\"", value("a")).find("inside double quotes"), std::string::npos);
  EXPECT_NE(rendered("x {{ v | words }}", {{"v", ordered_json::array({ordered_json::array({1})})}})
                .find("one item is a list"),
            std::string::npos);
  EXPECT_EQ(
      rendered("x={{ n }} y={{ t }} z={{ f }} {{ [] | words }}.", {{"n", -4}, {"t", true}, {"f", 0.5}}).substr(0, 19),
      "x=-4 y=True z=0.5 .");
}

TEST(TemplateShell, DirectivesHoldOneArgument) {
  const auto line = [](const std::string& v) { return rendered("#SBATCH --job-name={{ v }}\n", value(v)); };
  EXPECT_EQ(line("run-1_a.b/%A_%a"), "#SBATCH --job-name=run-1_a.b/%A_%a\n");
  // sbatch's own reading: quotes group, a backslash makes the next character plain, # outside of quotes ends the line.
  EXPECT_EQ(line("two words"), "#SBATCH --job-name=\"two words\"\n");
  EXPECT_EQ(line("a\"b\\c'd"), "#SBATCH --job-name=\"a\\\"b\\\\c'd\"\n");
  EXPECT_EQ(line("a#b"), "#SBATCH --job-name=\"a#b\"\n");
  EXPECT_EQ(line("$(touch pwned)"), "#SBATCH --job-name=\"$(touch pwned)\"\n");
  EXPECT_EQ(line(""), "#SBATCH --job-name=\"\"\n");
  EXPECT_EQ(rendered("#SBATCH --comment=\"a {{ v }}\"\n", value("x \"y\" \\")),
            "#SBATCH --comment=\"a x \\\"y\\\" \\\\\"\n");
  EXPECT_EQ(rendered("#SBATCH --comment='a {{ v }}'\n", value("x y")), "#SBATCH --comment='a x y'\n");
  EXPECT_EQ(rendered("#SBATCH --nodes={{ v }}\n", {{"v", 4}}), "#SBATCH --nodes=4\n");
  for (const char* bad : {"a\nb", "a\n#SBATCH --uid=0", "\r", "\x1b[0m", "\x7f", "my packjob", "HetJob"})
    EXPECT_NE(rendered("#SBATCH --job-name={{ v }}\n", value(bad)).find("'v': "), std::string::npos) << bad;
  EXPECT_NE(rendered("#SBATCH --comment='{{ v }}'\n", value("it's")).find("single quotes"), std::string::npos);
  EXPECT_NE(rendered("#SBATCH {{ v }}\n", value("")).find("empty"), std::string::npos);
}

TEST(TemplateShell, ACommentCannotTurnIntoSomethingElse) {
  EXPECT_EQ(rendered("# {{ v }}\n", value("a\nrm -rf x\r\n#SBATCH --uid=0")), "# a rm -rf x  #SBATCH --uid=0\n");
  EXPECT_EQ(rendered("## {{ v }}\necho # {{ v }}\n", value("a\nb")), "## a b\necho # a b\n");
}

TEST(TemplateShell, IncludedTemplatesAreReadAtTheirPlace) {
  const Loader loader = [](const std::string& name) -> std::optional<std::string> {
    if (name == "value") return "{{ v }}";
    if (name == "open") return "\"";
    return std::nullopt;
  };
  EXPECT_EQ(rendered("x=\"{% include 'value' %}\" y={% include 'value' %} z='{% include 'value' %}'\n",
                     value("it's $x"), loader),
            "x=\"it's \\$x\" y='it'\\''s $x' z='it'\\''s $x'\n");
  EXPECT_NE(rendered("x={% include 'open' %}{{ v }}\"", value(""), loader)
                .find("the included template ends inside double quotes"),
            std::string::npos);
  EXPECT_NE(rendered("x=$(( {% include 'value' %} ))", value(""), loader).find("arithmetic"), std::string::npos);
}

// sbatch: "This does not look like a batch script. The first line must start with #! followed by the path to an
// interpreter."
TEST(TemplateShell, AScriptThatDoesNotBeginWithItsInterpreterIsRefused) {
  const std::string expected = "; sbatch expects it to begin with '#!' and an interpreter, such as '#!/bin/bash'";
  const auto what = [](const std::string& text, const ordered_json& values = ordered_json::object()) {
    const std::string out = rendered_script(text, values);
    return out.starts_with("error at ") ? out.substr(out.find(": ") + 2) : "rendered: " + out;
  };
  for (const char* nothing : {"", " \n\t\n", "{# a comment #}\n", "{% if false %}#!/bin/bash\n{% endif %}\n"})
    EXPECT_EQ(what(nothing), "the script is empty" + expected) << nothing;
  EXPECT_EQ(what("set -e\necho\n"), "the script begins with 'set -e'" + expected);
  EXPECT_EQ(what("# bash\n"), "the script begins with '# bash'" + expected);
  // Blanks before it count: the kernel and sbatch look at the first two bytes.
  EXPECT_EQ(what("\n#!/bin/bash\n"), "the script begins with '\\n#!/bin/bash'" + expected);
  EXPECT_EQ(what(" #!/bin/bash\n"), "the script begins with ' #!/bin/bash'" + expected);
  EXPECT_EQ(what("{{ v }}\n", value("#!/bin/bash")), "the script begins with ''#!/bin/bash''" + expected);
  EXPECT_EQ(what("{# what for #}\n#!/bin/bash\n"), "rendered: #!/bin/bash\n");
  EXPECT_EQ(what("{% if true %}\n#! /bin/sh\n{% endif %}\n"), "rendered: #! /bin/sh\n");
}

TEST(TemplateShell, WholeScriptsRun) {
  const std::string text = R"(#!/bin/bash
#SBATCH --job-name={{ name }}
{% if account %}
#SBATCH --account={{ account }}
{% endif %}
{% for flag in flags %}
#SBATCH {{ flag }}
{% endfor %}
set -euo pipefail
{% for key, word in env.items() %}
export {{ key }}={{ word }}
{% endfor %}
args=( {{ args | words }} )
run() {
  printf '%s\0' "$@"
}
if [ -n "${NONE:-}" ]; then exit 1; fi
run "${args[@]}" "$A" "$B" {{ count }}
)";
  const ordered_json values = {{"name", "nightly run #3"},
                               {"account", ""},
                               {"flags", {"--exclusive", "--comment=a b"}},
                               {"env", {{"A", "$(touch pwned)"}, {"B", "x y"}}},
                               {"args", {"--model", "a b", "*", "-n"}},
                               {"count", 3}};
  const std::string script = rendered_script(text, values);
  EXPECT_TRUE(script.starts_with(
      "#!/bin/bash\n#SBATCH --job-name=\"nightly run #3\"\n#SBATCH --exclusive\n#SBATCH \"--comment=a b\"\nset -euo"))
      << script;
  const Finished run = run_with_bash(script);
  EXPECT_EQ(run.out, shown("--model") + shown("a b") + shown("*") + shown("-n") + shown("$(touch pwned)") +
                         shown("x y") + shown("3"));
  EXPECT_EQ(run.status, 0);
  EXPECT_TRUE(run.left.empty());
}

}  // namespace
