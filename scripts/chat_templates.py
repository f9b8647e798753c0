"""What scripts/check-chat-templates runs: Jinja2, set up as transformers sets it up, beside the project's own renderer.

The environment and what is done for continue_final_message follow transformers/utils/chat_template_utils.py (5.23).
"""
import argparse
import copy
import datetime
import hashlib
import importlib.metadata
import json
import pathlib
import platform
import subprocess
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

import chat_expressions

DATA = pathlib.Path(__file__).resolve().parent.parent / "tests/model/chat/data"
NOW = datetime.datetime(2026, 7, 26, 9, 5, 3)  # as in tests/model/chat/chat_json.h
MARK = "CONTINUE_FINAL_MESSAGE_TAG "
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
VERSIONS = json.dumps({"jinja2": jinja2.__version__, "markupsafe": importlib.metadata.version("markupsafe"), "python": platform.python_version(),
                       "follows transformers": "5.23.0"})
REASONING = ("reasoning_content", "thinking", "reasoning")


class Raised(Exception):
    """What a template raises by itself."""


class Generation(jinja2.ext.Extension):
    tags = {"generation"}
    blocks = spans = None

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller):
        text = caller()
        start = len("".join(Generation.blocks))
        Generation.spans.append((start, start + len(text)))
        return text


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise Raised(message)


class Namespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        for name in dict(*args, **kwargs):
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, *args, **kwargs)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError("underscore")


def environment():
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = to_json
    made.globals.update(raise_exception=raise_exception, strftime_now=NOW.strftime, namespace=Namespace)
    return made


ENVIRONMENT = environment()


def rendered(template, values):
    """The text, and the spans of {% generation %} in bytes."""
    Generation.blocks, Generation.spans = [], []
    for block in template.generate(**values):
        Generation.blocks.append(block)
    return "".join(Generation.blocks), list(Generation.spans)


def in_bytes(text, spans):
    return [[len(text[:at].encode()) for at in span] for span in spans]


def named_reasoning(message):
    reasoning = next((message[key] for key in REASONING if message.get(key) is not None), None)
    if reasoning is None:
        return message
    return {"thinking": reasoning, **message, "reasoning_content": reasoning}


def marked(messages):
    last = messages[-1]
    if last.get("content") is None:
        raise ValueError("nothing to go on with")
    if isinstance(last["content"], list):
        for part in reversed(last["content"]):
            if "text" in part:
                text = part["text"]
                part["text"] += MARK
                return text
        raise ValueError("no text to go on with")
    text = last["content"]
    last["content"] += MARK
    return text


def render_chat(template, chat):
    messages = [named_reasoning(message) for message in copy.deepcopy(chat["messages"])]
    goes_on = chat.get("continue_final_message", False)
    final = marked(messages) if goes_on else ""
    values = {**TOKENS, **chat.get("variables", {})}
    values.update(messages=messages, tools=chat.get("tools"), documents=chat.get("documents"))
    values["add_generation_prompt"] = chat.get("add_generation_prompt", False)
    text, spans = rendered(template, values)
    if goes_on:
        if final.strip() not in text or MARK.strip() not in text:
            raise ValueError("the final message does not appear")
        at = text.rindex(MARK.strip())
        text = text[:at] if text[at : at + len(MARK)] == MARK else text[:at].rstrip()
        spans = [(min(a, len(text)), min(b, len(text))) for a, b in spans]
    return {"text": text, "generated": in_bytes(text, spans)}


def answer_of(make):
    try:
        return make()
    except Raised as error:
        return {"raised": str(error)}
    except Exception as error:  # of many kinds; only that there is one counts
        return {"error": f"{type(error).__name__}: {error}"[:200]}


def answers_of(text, chats):
    try:
        template = ENVIRONMENT.from_string(text)
    except jinja2.TemplateError as error:
        return [{"error": str(error)} for _ in chats]
    return [answer_of(lambda: render_chat(template, chat)) for chat in chats]


def all_chats():
    """Each conversation of the file, with and without a prompt for the answer."""
    chats = []
    for chat in json.loads((DATA / "conversations.json").read_text()):
        chats.append({**chat, "add_generation_prompt": False})
        if not chat.get("continue_final_message"):
            chats.append({**chat, "add_generation_prompt": True})
    return chats


def agree(theirs, ours):
    if "text" in theirs:
        return ours == theirs
    return "error" in ours and theirs.get("raised", "") in ours["error"]


def templates_in(path):
    """Pairs of a name and a template: of a file, or of all files in a folder that hold any."""
    if path.is_dir():
        found = []
        for inner in sorted(path.rglob("*")):
            if inner.suffix == ".jinja" or inner.name in ("tokenizer_config.json", "chat_template.json"):
                found += templates_in(inner)
        return found
    if path.suffix != ".json":
        return [(str(path), path.read_bytes().decode())]
    held = json.loads(path.read_text()).get("chat_template") or []
    if isinstance(held, str):
        return [(str(path), held)]
    return [(f"{path} ({one['name']})", one["template"]) for one in held]


def ask(renderer, jobs):
    lines = "\n".join(json.dumps(job, ensure_ascii=False) for job in jobs)
    done = subprocess.run([renderer], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.split(b"\n") if line]


def check(renderer, paths):
    chats = all_chats()
    templates = [found for path in paths for found in templates_in(path)]
    if not templates:
        sys.exit("check-chat-templates: no template there: no *.jinja, tokenizer_config.json or chat_template.json")
    jobs = [{"template": text, "tokens": TOKENS, "chats": chats} for _, text in templates]
    same = texts = refused = 0
    for (name, text), ours in zip(templates, ask(renderer, jobs)):
        theirs = answers_of(text, chats)
        wrong = [i for i in range(len(chats)) if not agree(theirs[i], ours[i])]
        texts += sum("text" in one for one in theirs)
        refused += sum("text" not in one for one in theirs)
        same += not wrong
        if wrong:
            print(f"{name}: {len(wrong)} of {len(chats)} renderings differ; the first, of '{chats[wrong[0]]['name']}':")
            print(f"  Jinja2: {json.dumps(theirs[wrong[0]], ensure_ascii=False)[:2000]}")
            print(f"  here:   {json.dumps(ours[wrong[0]], ensure_ascii=False)[:2000]}")
    print(f"{same} of {len(templates)} templates give the same for all {len(chats)} conversations, as Jinja2 "
          f"{jinja2.__version__} renders them: {texts} texts, {refused} refusals")
    return 0 if same == len(templates) else 1


def record():
    chats = all_chats()
    recorded = []
    for path in sorted((DATA / "templates").glob("*.jinja")):
        for chat, answer in zip(chats, answers_of(path.read_bytes().decode(), chats)):
            entry = {"template": path.name, "conversation": chat["name"], "prompt": chat["add_generation_prompt"]}
            if "error" in answer:
                answer = {"error": True}
            elif "generated" in answer and not answer["generated"]:
                del answer["generated"]
            recorded.append({**entry, **answer})
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in recorded)
    (DATA / "expected.json").write_text(f'{{"versions": {VERSIONS},\n"cases": [\n{lines}\n]}}\n')
    print(f"{len(recorded)} renderings recorded")
    record_expressions()
    return 0


def recorded_expressions(count):
    """Random templates with a digest of what Jinja2 makes of each, or nothing where that is an error."""
    cases = []
    for seed in range(10 * count):
        text = chat_expressions.Maker(seed).template()
        if len(text) > 300:
            continue
        try:
            answer = rendered(ENVIRONMENT.from_string(text), copy.deepcopy(chat_expressions.VALUES))[0]
        except Exception:  # of many kinds; only that there is one counts
            answer = None
        if answer is not None and " at 0x" in answer:  # an address, which differs from run to run
            continue
        cases.append([text, None if answer is None else hashlib.sha256(answer.encode()).hexdigest()[:16]])
        if len(cases) == count:
            break
    return cases


def record_expressions():
    cases = recorded_expressions(2500)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    values = json.dumps(chat_expressions.VALUES, ensure_ascii=False)
    (DATA / "expressions.json").write_text(f'{{"versions": {VERSIONS},\n"values": {values},\n"cases": [\n{lines}\n]}}\n')
    print(f"{len(cases)} random templates recorded, {sum(answer is None for _, answer in cases)} of them errors")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--renderer", required=True)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("paths", nargs="*", type=pathlib.Path)
    given = parser.parse_args()
    return record() if given.record else check(given.renderer, given.paths or [DATA / "templates"])


if __name__ == "__main__":
    sys.exit(main())
