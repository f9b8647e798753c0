"""Random templates of the language that chat templates may use, for scripts/check-chat-templates. The same seed gives the same ones."""
import random

TEXTS = ["''", "'a'", "'Hello World'", "'  pad '", "'x,y,,z'", "'line\\nbreak'", "'Grüße'", "'42'", "'-7'", "'3.5'", "'%s-%d'",
         "'{}/{}'", "'abcabc'", "'a-b_c'", "'true'", "'<b>&\"'", "\"it's\"", "'\\t tab'", "'MiXed'"]
NAMES = {"text": ["s", "t", "w"], "integer": ["n", "k", "zero"], "float": ["f", "g"], "list": ["xs", "words", "mixed", "none_yet"],
         "dict": ["d", "msg"], "bool": ["yes", "no"], "records": ["users"], "any": ["missing", "nothing"]}
VALUES = {"s": "Hello World", "t": " a\tb \n", "w": "état-Ünïon", "n": 7, "k": -3, "zero": 0, "f": 1.5, "g": -0.25, "xs": [3, 1, 2],
          "words": ["b", "A", "", "c d"], "mixed": [1, "a", None, True, 2.5, ["x"]], "none_yet": [],
          "d": {"b": 1, "a": "two", "c": [1, 2], "e": None}, "msg": {"role": "user", "content": "hi ", "items": 3, "calls": [{"name": "f"}]},
          "yes": True, "no": False, "nothing": None,
          "users": [{"name": "ann", "age": 30, "on": True}, {"name": "Bob", "age": 25}, {"name": "cyd", "age": 30, "on": False}]}

JSON = ['indent=2', 'sort_keys=true', 'ensure_ascii=true', 'separators=(",", ":")', 'indent=0']
LISTS = ['list', 'sort', 'sort(reverse=true)', 'unique|list', 'reverse|list', 'batch(2)|list', 'slice(2)|list', 'map("string")|list', 'map("upper")|list', 'select|list', 'reject("none")|list', 'select("string")|list', 'select("gt", 1)|list', 'map("int")|list']
RECORDS = ['map(attribute="name")', 'map(attribute="on", default=0)', 'selectattr("on")', 'selectattr("age", "equalto", 30)', 'rejectattr("on", "defined")', 'sort(attribute="age")', 'sort(attribute="age,name", reverse=true)', 'unique(attribute="age")']
MAPS = ['dictsort', 'items|list', 'list', 'dictsort(false, "key", true)']


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, *choices):
        return self.random.choice(choices)

    def name(self, kind):
        return self.random.choice(NAMES[kind])

    def any(self, depth):
        kind = self.pick("text", "text", "integer", "integer", "float", "bool", "list", "list", "dict", "any")
        return getattr(self, kind + "_")(depth) if kind != "any" else self.any_(depth)

    def any_(self, depth):
        a = lambda: self.any(depth - 1)
        if depth <= 0:
            return self.pick("missing", "nothing", "none", "missing2", "d.nope", "xs[9]", "users[0].nope")
        return self.pick(lambda: f"{self.dict_(depth - 1)}.{self.pick('a', 'b', 'zz', 'role')}", lambda: f"{self.list_(depth - 1)}[{self.integer_(0)}]",
                         lambda: f"({a()} if {self.bool_(depth - 1)} else {a()})", lambda: f"({a()} or {a()})", lambda: f"({a()} and {a()})",
                         lambda: f"({a()} if {self.bool_(depth - 1)})", lambda: f"({self.list_(depth - 1)}|{self.pick('first', 'last', 'min', 'max', 'sum')})",
                         lambda: f"{self.dict_(depth - 1)}.get({self.text_(0)}{self.pick('', ', ' + a())})", lambda: f"({a()}|default({a()}{self.pick('', ', true')}))",
                         lambda: f"{self.dict_(depth - 1)}[{self.text_(0)}]", lambda: f"({a()}{self.pick('+', '-', '*', '/', '//', '%')}{a()})")()

    def text_(self, depth):
        t = lambda: self.text_(depth - 1)
        if depth <= 0 or self.random.random() < 0.15:
            return self.pick(self.pick(*TEXTS), self.name("text"))
        return self.pick(
            lambda: f"({t()} + {t()})", lambda: f"({self.any(depth - 1)} ~ {self.any(depth - 1)})",
            lambda: f"{t()}.{self.pick('strip', 'lstrip', 'rstrip')}({self.pick('', t())})", lambda: f"{t()}.{self.pick('upper', 'lower', 'title', 'capitalize', 'swapcase', 'casefold')}()",
            lambda: f"{t()}.replace({t()}, {t()}{self.pick('', ', 1', ', -1')})", lambda: f"{t()}.{self.pick('ljust', 'rjust', 'center', 'zfill')}({self.integer_(0)})",
            lambda: f"{t()}.join({self.list_(depth - 1)})", lambda: f"{t()}.format({self.any(depth - 1)}, {self.any(depth - 1)})",
            lambda: f"{t()}.{self.pick('removeprefix', 'removesuffix')}({t()})", lambda: f"{t()}[{self.integer_(0)}]", lambda: f"{t()}[{self.bounds()}]", lambda: f"({t()} * {self.integer_(0)})",
            lambda: f"({self.any(depth - 1)}|{self.pick('string', 'trim', 'upper', 'lower', 'title', 'capitalize', 'tojson', 'escape|string', 'center(9)')})", lambda: f"({t()}|{self.pick('indent', 'indent(2, true)', 'truncate(5)', 'reverse', 'safe')})",
            lambda: f"({self.list_(depth - 1)}|join({self.pick('', t())}))", lambda: f"({t()}|replace({t()}, {t()}))", lambda: f"({self.any(depth - 1)}|tojson({self.pick(*JSON)}))",
            lambda: f"({self.pick(repr('%s|%5s'), repr('%d %.2f'), repr('%-6s%r'), repr('%05d%x'), repr('%e%g'))} % ({self.any(depth - 1)}, {self.any(depth - 1)}))",
            lambda: f"{self.pick(repr('{:>6}|{!r}'), repr('{1}{0}'), repr('{:05d} {:.3f}'), repr('{:^9}{:+}'), repr('{{}}{:,}{}'), repr('{:x}{:e}'))}.format({self.any(depth - 1)}, {self.any(depth - 1)})",
            lambda: f"{t()}.{self.pick('partition', 'rpartition')}({t()})[{self.pick('0', '1', '2', '-1')}]")()

    def integer_(self, depth):
        i = lambda: self.integer_(depth - 1)
        if depth <= 0 or self.random.random() < 0.2:
            return self.pick(str(self.random.randint(0, 12)), "-1", "-2", self.name("integer"))
        return self.pick(
            lambda: f"({i()} {self.pick('+', '-', '*', '//', '%')} {i()})", lambda: f"({self.pick(self.list_, self.text_, self.dict_)(depth - 1)}|{self.pick('length', 'count')})", lambda: f"(-{i()})",
            lambda: f"({self.any(depth - 1)}|int)", lambda: f"({i()}|abs)", lambda: f"{self.text_(depth - 1)}.{self.pick('find', 'rfind', 'count', 'index')}({self.text_(0)})",
            lambda: f"({self.list_(depth - 1)}|sum)", lambda: f"({self.text_(depth - 1)}|wordcount)", lambda: f"({self.pick('2', '3', '-1')} ** {self.pick('0', '1', '3', '5')})",
            lambda: f"{self.list_(depth - 1)}.{self.pick('count', 'index')}({self.any(0)})", lambda: f"({self.float_(depth - 1)}|round(0, {self.pick(repr('floor'), repr('ceil'), repr('common'))})|int)")()

    def float_(self, depth):
        if depth <= 0 or self.random.random() < 0.2:
            return self.pick("0.5", "2.0", "1e3", "3.14159", self.name("float"))
        return self.pick(lambda: f"({self.float_(depth - 1)} {self.pick('+', '-', '*', '/', '//', '%')} {self.pick(self.float_, self.integer_)(depth - 1)})", lambda: f"({self.any(depth - 1)}|float)",
                         lambda: f"({self.float_(depth - 1)}|round({self.pick('', '1', '2', '3')}))", lambda: f"({self.integer_(depth - 1)} / {self.integer_(depth - 1)})")()

    def bool_(self, depth):
        a = lambda: self.any(depth - 1)
        if depth <= 0 or self.random.random() < 0.1:
            return self.pick("true", "false", "True", "False", self.name("bool"))
        return self.pick(
            lambda: f"({a()} {self.pick('==', '!=')} {a()})", lambda: f"({self.integer_(depth - 1)} {self.pick('<', '<=', '>', '>=')} {self.pick(self.integer_, self.float_)(depth - 1)})", lambda: f"({self.text_(depth - 1)} {self.pick('<', '>=')} {self.text_(depth - 1)})",
            lambda: f"({a()} {self.pick('in', 'not in')} {self.pick(self.list_, self.dict_, self.text_)(depth - 1)})", lambda: f"(not {a()})", lambda: f"({self.text_(0)} in {self.text_(depth - 1)})",
            lambda: f"({a()} is {self.pick('', 'not ')}{self.pick('defined', 'undefined', 'none', 'string', 'number', 'integer', 'float', 'boolean', 'mapping', 'sequence', 'iterable', 'true', 'false', 'callable', 'odd', 'even', 'lower', 'upper', 'divisibleby 3', 'eq 1', 'in [1, 2]', 'sameas none', 'ne(none)', 'gt 2', 'escaped', 'filter', 'test')})",
            lambda: f"{self.text_(depth - 1)}.{self.pick('startswith', 'endswith')}({self.pick(self.text_(0), '(' + self.text_(0) + ', ' + self.text_(0) + ')')})", lambda: f"{self.text_(depth - 1)}.{self.pick('isdigit', 'isalpha', 'isalnum', 'isspace', 'islower', 'isupper', 'isascii', 'isnumeric')}()",
            lambda: f"({self.integer_(0)} < {self.integer_(depth - 1)} <= {self.integer_(0)})", lambda: f"({self.bool_(depth - 1)} {self.pick('and', 'or')} {self.bool_(depth - 1)})")()

    def bounds(self):
        part = lambda: self.pick("", "", "0", "1", "2", "-1", "-2", "5")
        return f"{part()}:{part()}{self.pick('', '', ':' + self.pick('1', '2', '-1', '-2'))}"

    def list_(self, depth):
        a, li = (lambda: self.any(depth - 1)), (lambda: self.list_(depth - 1))
        if depth <= 0 or self.random.random() < 0.1:
            return self.pick("[]", "[1, 2, 3]", "['a', 'b']", "(1, 'x')", "range(4)", "range(5, 0, -2)", self.name("list"), self.name("records"))
        return self.pick(
            lambda: f"[{a()}, {a()}]", lambda: f"({a()}, {a()})", lambda: f"{li()}[{self.bounds()}]", lambda: f"({li()} + {li()})", lambda: f"({li()} * {self.pick('0', '1', '2')})",
            lambda: f"{self.text_(depth - 1)}.{self.pick('split', 'rsplit')}({self.pick('', self.text_(0), self.text_(0) + ', 1', 'none, 1')})", lambda: f"{self.text_(depth - 1)}.splitlines({self.pick('', 'true')})",
            lambda: f"({li()}|{self.pick(*LISTS)})",
            lambda: f"(users|{self.pick(*RECORDS)}|list)",
            lambda: f"({self.dict_(depth - 1)}|{self.pick(*MAPS)})", lambda: f"({self.dict_(depth - 1)}.{self.pick('items', 'keys', 'values')}()|list)", lambda: f"({self.text_(depth - 1)}|list)")()

    def dict_(self, depth):
        if depth <= 0 or self.random.random() < 0.3:
            return self.pick("{}", self.name("dict"), "{'a': 1, 'b': 'x'}", "users[0]")
        return self.pick(lambda: "{" + f"{self.text_(0)}: {self.any(depth - 1)}, {self.pick(self.text_(0), self.integer_(0))}: {self.any(depth - 1)}" + "}", lambda: f"dict({self.dict_(depth - 1)}, z={self.any(depth - 1)})",
                         lambda: f"dict(a={self.any(depth - 1)}, b={self.any(depth - 1)})")()

    def statement(self, depth):
        e = lambda: self.any(2)
        if depth <= 0:
            return self.pick(lambda: "{{ " + e() + " }}", lambda: "{{- " + e() + " -}}", lambda: self.pick("x", " y ", "\n", "  \n z"), lambda: "{# c #}", lambda: "{% set v = " + e() + " %}", lambda: "{% set ns.x = " + e() + " %}", lambda: "{{ v }}{{ ns.x }}", lambda: "{% set p, q = " + self.pick("(1, 2)", "'ab'", "xs[:2]") + " %}{{ p }}{{ q }}")()
        b = lambda: "".join(self.statement(depth - 1) for _ in range(self.random.randint(1, 3)))
        open_, close = self.pick("{%", "{%-", "  {%"), self.pick("%}", "-%}", "%}\n")
        tag = lambda text: f"{open_} {text} {close}"
        return self.pick(
            lambda: tag(f"if {self.bool_(2)}") + b() + tag(f"elif {e()}") + b() + tag("else") + b() + tag("endif"),
            lambda: tag(f"for i in {self.list_(2)}") + b() + "{{ i }}{{ loop." + self.pick("index", "index0", "first", "last", "length", "revindex", "previtem", "nextitem", "depth", "cycle(1, 2)", "changed(i)") + " }}" + tag("else") + b() + tag("endfor"),
            lambda: tag(f"for i in {self.list_(2)} if {self.pick('i', 'i is string', 'i is number', 'not i')}") + "{{ loop.index }}" + b() + tag("endfor"),
            lambda: tag(f"for key, value in {self.dict_(2)}.items()") + "{{ key }}={{ value }}" + self.pick("", "{% if loop.last %}{% break %}{% endif %}", "{% if value %}{% continue %}{% endif %}") + b() + tag("endfor"),
            lambda: tag("set v") + b() + tag("endset"), lambda: tag(f"macro m(a, b={e()}, c=3)") + "{{ a }}{{ b }}{{ c }}" + b() + tag("endmacro") + "{{ m(" + self.pick("", e(), f"{e()}, c={e()}", f"b={e()}", "*[1, 2]", "**{'c': 4}") + ") }}",
            lambda: tag("macro wrap(x)") + "<{{ caller(x) }}>" + tag("endmacro") + tag(f"call(y) wrap({e()})") + "{{ y }}" + b() + tag("endcall"), lambda: tag("filter " + self.pick("upper", "trim", "replace('a', 'b')|title")) + b() + tag("endfilter"),
            lambda: tag(f"with v = {e()}, u = v") + "{{ u }}" + b() + tag("endwith"), lambda: tag("for i in [1, [2, [3]], [4]] recursive") + "{% if i is iterable %}({{ loop(i) }}){% else %}{{ i }}@{{ loop.depth }}{% endif %}" + tag("endfor"), lambda: tag("generation") + b() + tag("endgeneration"))()

    def template(self):
        if self.random.random() < 0.7:
            return "{{ " + self.any(3) + " }}"
        return "{% set ns = namespace(x=1) %}" + "".join(self.statement(self.random.randint(0, 2)) for _ in range(3))
