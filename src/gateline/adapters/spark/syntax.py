"""Row expressions as trees: the grammar that Polars reads, as far as Gateline's closed vocabulary uses it.

Precedence follows the SQL parser that Polars uses; what is not in the grammar is refused, so that no expression is read in two ways.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from gateline.kernel.errors import InvalidInput

_TOKEN = re.compile(
    r"\s+|(?P<text>'(?:[^']|'')*')|(?P<quoted>\"[^\"]*\")|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>::|<=|>=|<>|!=|\|\||//|[-+*/%<>=(),])|(?P<wrong>.)",
    re.DOTALL,
)
_OR, _AND, _NOT, _IS, _LIKE, _COMPARE, _PLUS, _TIMES, _CAST = 5, 10, 15, 17, 19, 20, 30, 40, 140
_BINARY = {
    "or": _OR, "and": _AND, "=": _COMPARE, "<>": _COMPARE, "!=": _COMPARE, "<": _COMPARE, "<=": _COMPARE, ">": _COMPARE, ">=": _COMPARE,
    "+": _PLUS, "-": _PLUS, "*": _TIMES, "/": _TIMES, "%": _TIMES, "//": _TIMES, "||": _TIMES,
}  # fmt: skip
_AFTER_NOT = {"like": _LIKE, "between": _COMPARE, "in": _COMPARE}
_UNITS = {"microsecond", "millisecond", "second", "minute", "hour", "day", "week"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A part of an expression.

    Attributes:
        kind: `column`, `literal`, `call`, `cast`, `try_cast`, `case`, `not`, `is`, `in`, `between`, `like`, `minus`, `plus` or a binary
            operator.
        text: The part as it was written, which Polars reads as the same value.
        args: Its operands. Of a `case`: condition and value by turns, then the default if there is one.
        name: Name of a column or function in lower case for functions, type of a cast, or what `is` asks for.
        negated: Whether NOT stands in it (`NOT IN`, `IS NOT NULL` …).
    """

    kind: str
    text: str
    args: tuple[Node, ...] = ()
    name: str = ""
    negated: bool = False

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns it reads."""
        return frozenset({self.name}) if self.kind == "column" else frozenset().union(*(one.columns for one in self.args))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int

    @property
    def word(self) -> str:
        """The token as a keyword or sign; texts and quoted names are none."""
        return self.text.lower() if self.kind in {"word", "sign"} else ""


def parse(sql: str) -> Node:
    """Return the tree of an expression.

    >>> parse("dep_delay + 2 * air_time > 3").kind
    '>'

    Raises:
        InvalidInput: it uses what the grammar does not know.
    """
    parser = _Parser(sql)
    tree = parser.expression(0)
    if parser.word or parser.token.kind != "end":
        parser.refuse(f"'{parser.token.text}' is not understood there")
    return tree


class _Parser:
    """Reads an expression by precedence climbing."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        found = [_Token(match.lastgroup, match[0], match.start(), match.end()) for match in _TOKEN.finditer(sql) if match.lastgroup]
        self.tokens = [*found, _Token("end", "", len(sql), len(sql))]
        self.place = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.place]

    @property
    def word(self) -> str:
        return self.token.word

    def refuse(self, why: str) -> NoReturn:
        raise InvalidInput(
            f"Spark does not compute {self.sql!r}: {why}.", next_step="Write it with the documented functions, or use the Polars engine."
        )

    def take(self, *words: str) -> str:
        """Take the next token when it is one of the words; empty when it is none."""
        if self.word and self.word in words:
            self.place += 1
            return self.tokens[self.place - 1].word
        return ""

    def expect(self, word: str) -> None:
        if not self.take(word):
            self.refuse(f"'{word.upper()}' is missing before '{self.token.text}'")

    def node(self, kind: str, start: int, *args: Node, name: str = "", negated: bool = False) -> Node:
        text = self.sql[start : self.tokens[self.place - 1].end]
        return Node(kind=kind, text=text, args=args, name=name, negated=negated)

    def expression(self, precedence: int) -> Node:
        start = self.token.start
        left = self.prefix(start)
        while True:
            power = self.power()
            if power <= precedence:
                return left
            left = self.infix(left, start, power)

    def power(self) -> int:
        if self.word == "not":
            return _AFTER_NOT.get(self.tokens[self.place + 1].word, 0)
        return {**_BINARY, **_AFTER_NOT, "is": _IS, "::": _CAST}.get(self.word, 0)

    def infix(self, left: Node, start: int, power: int) -> Node:
        negated = bool(self.take("not"))
        sign = self.word
        self.place += 1
        match sign:
            case "is":
                negated = bool(self.take("not"))
                asked = self.take("null", "true", "false") or self.refuse(f"IS takes NULL, TRUE or FALSE, not '{self.token.text}'")
                return self.node("is", start, left, name=asked, negated=negated)
            case "in":
                self.expect("(")
                return self.node("in", start, left, *self.listed(), negated=negated)
            case "between":
                low = self.expression(power)
                self.expect("and")
                return self.node("between", start, left, low, self.expression(power), negated=negated)
            case "like":
                return self.node("like", start, left, self.expression(power), negated=negated)
            case "::":
                return self.node("cast", start, left, name=self.type_name())
            case _:
                return self.node("<>" if sign == "!=" else sign, start, left, self.expression(power))

    def listed(self) -> list[Node]:
        """Read expressions up to the closing bracket."""
        found: list[Node] = []
        if self.take(")"):
            return found
        while True:
            found.append(self.expression(0))
            if not self.take(","):
                break
        self.expect(")")
        return found

    def prefix(self, start: int) -> Node:
        token = self.token
        self.place += 1
        match token.kind:
            case "number" | "text":
                return self.node("literal", start)
            case "quoted":
                return self.node("column", start, name=token.text[1:-1])
            case "sign" if token.text == "(":
                inside = self.expression(0)
                self.expect(")")
                return Node(kind=inside.kind, text=f"({inside.text})", args=inside.args, name=inside.name, negated=inside.negated)
            case "sign" if token.text in {"-", "+"}:
                return self.node("minus" if token.text == "-" else "plus", start, self.expression(_TIMES))
            case "word":
                return self.named(token, start)
            case _:
                return self.refuse(f"'{token.text}' is not understood there" if token.text else "it ends too early")

    def named(self, token: _Token, start: int) -> Node:
        word = token.word
        if word == "not":
            return self.node("not", start, self.expression(_NOT))
        if word == "case":
            return self.case(start)
        if word in {"true", "false", "null"}:
            return self.node("literal", start)
        if word == "interval" or (word in {"date", "timestamp"} and self.token.kind == "text"):
            if self.token.kind not in {"text", "number"}:
                self.refuse(f"{word.upper()} takes a literal")
            self.place += 1
            if word == "interval" and self.word.removesuffix("s") in _UNITS:
                self.place += 1
            return self.node("literal", start)
        if self.take("("):
            return self.call(word, start)
        return self.node("column", start, name=token.text)

    def call(self, word: str, start: int) -> Node:
        if word in {"cast", "try_cast"}:
            value = self.expression(0)
            self.expect("as")
            wanted = self.type_name()
            self.expect(")")
            return self.node(word, start, value, name=wanted)
        if word == "extract":
            field = self.token.text.lower()
            self.place += 1
            self.expect("from")
            value = self.expression(0)
            self.expect(")")
            return self.node("call", start, Node(kind="literal", text=f"'{field}'"), value, name="date_part")
        if word == "trim":
            side = self.take("both", "leading", "trailing")
            values = [] if side and self.take("from") else [self.expression(0)]
            if not values or self.take("from"):
                values = [self.expression(0), *values]
            elif side or self.word == ",":
                self.refuse("TRIM takes one text, or (BOTH 'characters' FROM text)")
            self.expect(")")
            return self.node("call", start, *values, name={"leading": "ltrim", "trailing": "rtrim"}.get(side, "trim"))
        return self.node("call", start, *self.listed(), name=word)

    def case(self, start: int) -> Node:
        subject = None if self.word == "when" else self.expression(0)
        values: list[Node] = []
        while self.take("when"):
            condition = self.expression(0)
            if subject is not None:
                condition = Node(kind="=", text=f"({subject.text} = {condition.text})", args=(subject, condition))
            self.expect("then")
            values += [condition, self.expression(0)]
        if self.take("else"):
            values.append(self.expression(0))
        self.expect("end")
        return self.node("case", start, *values)

    def type_name(self) -> str:
        name = self.word or self.refuse("the type of a CAST is missing")
        self.place += 1
        if name == "double" and self.take("precision"):
            return "double"
        if self.take("("):
            while not self.take(")"):
                if self.token.kind == "end":
                    self.refuse("the type of a CAST is not closed")
                self.place += 1
        if name == "timestamp" and (zoned := self.take("with", "without")):
            self.expect("time")
            self.expect("zone")
            return "timestamptz" if zoned == "with" else "timestamp"
        return name
