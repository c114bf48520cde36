"""A Griffe extension: our docstrings, said in the way that mkdocstrings renders.

Ours follow each other without blank lines, give one line to arguments that share a meaning, and have three headings
of their own (Shape, Source, Example). Griffe's Google parser wants blank lines, one argument a line and its headings.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_HEADING = re.compile(r"^(Args|Attributes|Example|Raises|Returns|Shape|Source|Use|Yields):$")
TITLES = {"Use": "When to use it"}
_SHARED = re.compile(r"^(?P<indent> +)(?P<names>\w+(?:, \w+)+):(?P<text> .*)$")


def _sections(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Heading and lines of every section; the heading of the first is empty."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    for line in lines:
        match = _HEADING.match(line)
        if match:
            sections.append((match[1], []))
        else:
            sections[-1][1].append(line)
    return sections


def _one_argument_a_line(lines: list[str]) -> list[str]:
    """``low, high: Edges.`` becomes ``low: Edges.`` and ``high: Edges.``, each with the lines that go on below."""
    split: list[str] = []
    at = 0
    while at < len(lines):
        match = _SHARED.match(lines[at])
        end = at + 1
        while match and end < len(lines) and lines[end].startswith(match["indent"] + " "):
            end += 1
        if match:
            for name in match["names"].split(", "):
                split += [f"{match['indent']}{name}:{match['text']}", *lines[at + 1 : end]]
        else:
            split.append(lines[at])
        at = end
    return split


def to_google(docstring: str) -> str:
    """Our docstring as Griffe's Google parser reads it."""
    written: list[str] = []
    for heading, lines in _sections(docstring.splitlines()):
        if heading == "":
            # A paragraph that ends in :: opens a code block in our docstrings; Markdown needs the indent only.
            written += [line[:-1] if line.endswith("::") and len(line) > 2 else line for line in lines if line != "::"]
        elif heading in {"Shape", "Source", "Use"}:
            written += ["", f"**{TITLES.get(heading, heading)}:**", "", *(line.strip() for line in lines)]
        elif heading == "Example":
            written += ["", "Examples:", *lines]
        else:
            written += ["", f"{heading}:", *_one_argument_a_line(lines)]
    return "\n".join(written)


class HouseStyle(griffe.Extension):
    """Rewrites each docstring before it is parsed, and shows ``hidden_at_default(default)`` as the default that it is."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        if isinstance(attr.value, griffe.ExprCall) and str(attr.value.function) == "hidden_at_default":
            attr.value = attr.value.arguments[0]

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = to_google(obj.docstring.value)
