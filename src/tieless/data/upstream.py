"""The publisher's own address as a source of data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from tieless._imports import try_import
from tieless.data.published import Publication
from tieless.errors import DataError

with try_import("study") as _study_extra:
    import pooch  # pyright: ignore[reportMissingTypeStubs]

__all__ = ["download"]

_PATIENCE = 30
"""Seconds without an answer after which the address is given up."""


def download(publication: Publication, folder: Path, tell: Callable[[str], None]) -> None:
    """Put the files that upstream serves into ``folder``, as they come: they are checked when read.

    Args:
        publication: What to download.
        folder: Where to.
        tell: Told what takes long.
    Raises:
        DataError: the address cannot be reached, or does not serve a file.
        MissingExtraError: pooch is not installed.
    """
    _study_extra.check()
    fetch = cast("Any", pooch).HTTPDownloader(timeout=_PATIENCE)  # pyright: ignore[reportPossiblyUnboundVariable]
    tell(f"Downloading {publication.name} from {publication.upstream} ...")
    for file in publication.files:
        name = f"{file.name}.gz"
        try:
            fetch(f"{publication.upstream}/{name}", str(folder / name), None)
        except OSError as error:
            raise DataError(f"{name} could not be downloaded ({_cause(error)})") from None


def _cause(error: BaseException) -> str:
    """The innermost cause: requests wraps what the system said in several layers of retries."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__
