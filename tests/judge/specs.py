"""Independent reader of specs: ``name(1, "text", word=2.5) >> name`` to names and values."""

from __future__ import annotations

import re

Value = float | str

_CALL = re.compile(r"\s*(\w+)\s*(?:\(([^)]*)\))?\s*")
_ARGUMENT = re.compile(r"""\s*(?:(\w+)\s*=)?\s*("[^"]*"|[^,\s"]+)\s*(?:,|$)""")


def read(spec: str, signatures: dict[str, dict[str, Value | None]]) -> list[tuple[str, dict[str, Value]]]:
    """Calls of a chain, each with a value for every parameter of its signature, whose values are the defaults."""
    calls = []
    for text in spec.split(">>"):
        match = _CALL.fullmatch(text)
        assert match, f"not a call: {text!r}"
        name, inside = match.groups()
        values = dict(signatures[name])
        given = _ARGUMENT.findall(inside or "")
        for (word, written), place in zip(given, values, strict=False):
            values[word or place] = written.strip('"') if written.startswith('"') else float(written)
        assert None not in values.values(), f"a parameter is missing: {text!r}"
        calls.append((name, values))
    return calls
