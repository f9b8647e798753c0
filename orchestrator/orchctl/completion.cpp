// orchctl completion: scripts that complete commands and options, made from the commands themselves so that they cannot
// lag behind.
#include <algorithm>
#include <map>

#include "base/text.h"
#include "orchctl/command.h"

namespace orch::orchctl {
namespace {

/// The body that both shells share: sets `candidates` from `path` (the commands so far) and `current`.
std::string cases(const std::map<std::string, Words>& found) {
  std::string text;
  for (const auto& [path, words] : found) {
    text += "    '" + path + "') commands='" + join(words.commands, " ") + "' options='" + join(words.options, " ") +
            "' ;;\n";
  }
  return text;
}

const char kBash[] = R"(# bash completion of orchctl: source <(orchctl completion bash)
_orchctl() {
  local current=${COMP_WORDS[COMP_CWORD]} path='' commands='' options='' word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    case "$word" in -*) continue ;; esac
    _orchctl_words "$path"
    case " $commands " in *" $word "*) path=${path:+$path }$word ;; esac
  done
  _orchctl_words "$path"
  case "$current" in
    -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current") ;;
    *)
      mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
      if [ -z "$commands" ]; then mapfile -t COMPREPLY < <(compgen -f -- "$current"); fi
      ;;
  esac
}
_orchctl_words() {
  commands='' options=''
  case "$1" in
@CASES@  esac
}
complete -o filenames -F _orchctl orchctl
)";

const char kZsh[] = R"(#compdef orchctl
# zsh completion of orchctl: save as _orchctl in a folder of $fpath, or: source <(orchctl completion zsh)
_orchctl_words() {
  commands='' options=''
  case "$1" in
@CASES@  esac
}
_orchctl() {
  local current=${words[CURRENT]} path_words='' commands='' options='' word
  for word in ${words[2,CURRENT-1]}; do
    [[ $word == -* ]] && continue
    _orchctl_words "$path_words"
    [[ " $commands " == *" $word "* ]] && path_words=${path_words:+$path_words }$word
  done
  _orchctl_words "$path_words"
  if [[ $current == -* ]]; then
    compadd -- ${=options}
  elif [[ -n $commands ]]; then
    compadd -- ${=commands}
  else
    _files
  fi
}
if [[ $funcstack[1] == _orchctl ]]; then _orchctl "$@"; else compdef _orchctl orchctl; fi
)";

}  // namespace

int completion(Session& session, const std::map<std::string, Words>& found, const std::string& shell) {
  std::string text = shell == "bash" ? kBash : kZsh;
  const std::string mark = "@CASES@";
  text.replace(text.find(mark), mark.size(), cases(found));
  session.out << text;
  return kWell;
}

}  // namespace orch::orchctl
