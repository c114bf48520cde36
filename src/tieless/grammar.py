"""Specs: ``name(args) >> name(args)``, the text form of rules, forwards, models and data sets.

A spec is data. It is read by the grammar below and by nothing else, so reading one never runs code::

    chain  = call { ">>" call }
    call   = name [ "(" [ argument { "," argument } [ "," ] ] ")" ]
    argument = [ name "=" ] value          (positional ones first)
    value  = number | string | boolean
    name   = a letter or "_", then letters, digits, "_", and "-" between two of them
    number = as in Python, by the digits 0 to 9: 3, -0.5, 1e-3; a whole one is at most what a float can hold
    string = 'text' or "text", without escapes
    boolean = true | false | True | False

It may come from anywhere: reading takes time in proportion to its length, and every refusal is a ``SpecError``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tieless.errors import SpecError

Value = int | float | bool | str

# Each character can be matched in one way only, so that no text makes the matcher go back over what it has read.
_NAME = r"[^\W\d]\w*(?:-\w+)*"
_TOKEN = re.compile(
    rf"""(?P<space>\s+)
      | (?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
      | (?P<string>"[^"]*"|'[^']*')
      | (?P<name>{_NAME})
      | (?P<symbol>>>|[(),=])""",
    re.VERBOSE,
)
_LONGEST = 80
"""Largest number of characters of a value that a message shows."""
_LONGEST_WHOLE = 310
"""Largest number of characters of a whole number that a float can hold."""
_BOOLEANS = {"true": True, "True": True, "false": False, "False": False}


@dataclass(frozen=True, slots=True)
class Call:
    """One ``name(args)`` of a spec, as written: values are numbers, strings or booleans."""

    name: str
    args: tuple[Value, ...] = ()
    kwargs: Mapping[str, Value] = field(default_factory=dict[str, Value])


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._tokenize()
        self._next = 0

    def _error(self, expected: str, position: int) -> SpecError:
        rest = self._text[position:].strip()
        found = shown(rest) if rest else "the end"
        return SpecError(
            f"Cannot read spec {shown(self._text)}: expected {expected} at column {position + 1}, got {found}."
        )

    def _tokenize(self) -> list[_Token]:
        tokens: list[_Token] = []
        position = 0
        while position < len(self._text):
            match = _TOKEN.match(self._text, position)
            if match is None:
                raise self._error("a name, a value or one of '( ) , = >>'", position)
            kind = match.lastgroup or ""
            if kind != "space":
                tokens.append(_Token(kind, match.group(), position))
            position = match.end()
        tokens.append(_Token("end", "", len(self._text)))
        return tokens

    def _peek(self, ahead: int = 0) -> _Token:
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def _take(self, *texts: str) -> bool:
        if self._peek().kind == "symbol" and self._peek().text in texts:
            self._next += 1
            return True
        return False

    def chain(self) -> tuple[Call, ...]:
        calls = [self.call()]
        while self._take(">>"):
            calls.append(self.call())
        if self._peek().kind != "end":
            raise self._error("'>>' or the end", self._peek().position)
        return tuple(calls)

    def call(self) -> Call:
        token = self._peek()
        if token.kind != "name":
            raise self._error("a name", token.position)
        self._next += 1
        args: list[Value] = []
        kwargs: dict[str, Value] = {}
        if self._take("("):
            while not self._take(")"):
                self._argument(args, kwargs)
                if not self._take(",") and not (self._peek().text == ")" and self._peek().kind == "symbol"):
                    raise self._error("',' or ')'", self._peek().position)
        return Call(token.text, tuple(args), kwargs)

    def _argument(self, args: list[Value], kwargs: dict[str, Value]) -> None:
        token = self._peek()
        if token.kind == "name" and self._peek(1).text == "=":
            if token.text in kwargs:
                raise self._error(f"each parameter once ({shown(token.text)} was given before)", token.position)
            self._next += 2
            kwargs[token.text] = self._value()
        elif kwargs:
            raise self._error("a keyword argument (positional ones come first)", token.position)
        else:
            args.append(self._value())

    def _value(self) -> Value:
        token = self._peek()
        self._next += 1
        if token.kind == "number":
            return self._number(token)
        if token.kind == "string":
            return token.text[1:-1]
        if token.kind == "name" and token.text in _BOOLEANS:
            return _BOOLEANS[token.text]
        raise self._error("a number, a quoted string, true or false", token.position)

    def _number(self, token: _Token) -> int | float:
        if not token.text.lstrip("+-").isdigit():
            return float(token.text)
        digits = token.text.lstrip("+-").lstrip("0") or "0"
        # Python refuses to read more digits than 4300, or fewer where it was told so.
        if len(digits) > _LONGEST_WHOLE or math.isinf(float(digits)):
            raise self._error("a number that a float can hold", token.position)
        return -int(digits) if token.text.startswith("-") else int(digits)


def parse_chain(text: str) -> tuple[Call, ...]:
    """Read ``name(args) >> name(args)``.

    Args:
        text: Text of the spec.
    Raises:
        SpecError: the grammar does not accept the text; the message shows the place.
    Example:
        >>> [call.name for call in parse_chain("rectangular(-1, 1) >> noise(sigma=0.1)")]
        ['rectangular', 'noise']
    """
    return _Parser(text).chain()


def parse_call(text: str) -> Call:
    """Read a spec that is one ``name(args)``.

    Args:
        text: Text of the spec.
    Raises:
        SpecError: the grammar does not accept the text, or it joins several calls with ``>>``.
    Example:
        >>> parse_call("ones(d=10, tau=0.5)")
        Call(name='ones', args=(), kwargs={'d': 10, 'tau': 0.5})
    """
    calls = parse_chain(text)
    if len(calls) != 1:
        raise SpecError(f"Expected one name(args), got {len(calls)} joined by '>>': {text!r}.")
    return calls[0]


def is_name(text: str) -> bool:
    """True if the grammar reads ``text`` as one name."""
    return re.fullmatch(_NAME, text) is not None


def is_text(text: str) -> bool:
    """True if a spec can hold ``text``: a string has no escapes, so it cannot have both kinds of quotation marks."""
    return '"' not in text or "'" not in text


def shown(value: object) -> str:
    """Value for a message: in one line, its middle left out if it is long, for any type.

    Example:
        >>> shown("atan"), len(shown("1" * 10000))
        ("'atan'", 80)
    """
    try:
        text = " ".join(line.strip() for line in repr(value).splitlines())
    except Exception:  # noqa: BLE001  a message about a value must not fail for what the value makes of itself
        text = f"a value of the type {type(value).__name__}, which cannot be shown"
    kept = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[: kept - 2]}...{text[1 - kept :]}"


def format_value(value: Value) -> str:
    """Write a value so that the grammar reads it back."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}'" if '"' in value else f'"{value}"'
    return repr(value)


def format_call(call: Call) -> str:
    """Write a call so that ``parse_call`` reads it back.

    Example:
        >>> format_call(Call("rectangular", (-1, 1), {}))
        'rectangular(-1, 1)'
    """
    parts = [format_value(value) for value in call.args]
    parts += [f"{name}={format_value(value)}" for name, value in call.kwargs.items()]
    return f"{call.name}({', '.join(parts)})" if parts else call.name
