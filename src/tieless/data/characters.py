"""Codes of characters: the vocabulary of the Brown corpus."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from tieless.errors import RuleValueError

CHARACTERS = "\n !$%&'()*+,-./0123456789:;?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]`abcdefghijklmnopqrstuvwxyz{}"
"""All characters of the corpus, in the order of ASCII: a character's code is its index here."""

_UNKNOWN = -1


def _table() -> Tensor:
    codes = torch.full((256,), _UNKNOWN)
    codes[torch.tensor(list(CHARACTERS.encode("ascii")))] = torch.arange(len(CHARACTERS))
    return codes


_CODES = _table()


def encode(text: str | Tensor) -> Tensor:
    r"""Codes of a text: int64, one per character.

    Args:
        text: String, or its ASCII characters as uint8.
    Raises:
        RuleValueError: the text has a character that the vocabulary lacks; the message names the first.
    Example:
        >>> from tieless.data.characters import encode
        >>> encode("To be\n")
        tensor([47, 71,  1, 58, 61,  0])
    """
    if isinstance(text, str):
        # A character beyond ASCII has no byte of its own: it becomes 0, which is in no vocabulary.
        text = torch.tensor([ord(one) if one.isascii() else 0 for one in text], dtype=torch.uint8)
    codes = _CODES[text.long()]
    unknown = (codes == _UNKNOWN).nonzero()
    if len(unknown):
        raise RuleValueError(
            f"Character {int(unknown[0])} of the text is not in the vocabulary, which has {len(CHARACTERS)}: "
            f"{CHARACTERS!r}."
        )
    return codes


def decode(codes: Tensor) -> str:
    """Text of some codes, row after row.

    Raises:
        RuleValueError: a code is not in ``0 .. len(CHARACTERS) - 1``.
    Example:
        >>> from tieless.data.characters import decode
        >>> decode(torch.tensor([47, 71, 1, 58, 61]))
        'To be'
    """
    values = cast("list[int]", codes.flatten().tolist())
    if values and not 0 <= min(values) <= max(values) < len(CHARACTERS):
        raise RuleValueError(f"codes must be 0 to {len(CHARACTERS) - 1}, got {min(values)} to {max(values)}.")
    return "".join(CHARACTERS[value] for value in values)
