"""Address of the publisher as a source of data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tieless._imports import try_import
from tieless.data.published import Publication, Supplier, Tell
from tieless.errors import DataError

with try_import("study") as _study_extra:
    import pooch  # pyright: ignore[reportMissingTypeStubs]

_PATIENCE = 30
"""Seconds without an answer after which the address is given up."""


@dataclass(frozen=True, slots=True)
class Upstream(Supplier):
    """Address below which the publisher serves each file with ``.gz``."""

    address: str

    @property
    def title(self) -> str:
        return self.address

    def fetch(self, publication: Publication, folder: Path, tell: Tell) -> Path:
        """Download each file.

        Raises:
            DataError: the address cannot be reached, or does not serve a file.
            MissingExtraError: pooch is not installed.
        """
        _study_extra.check()
        fetch = cast("Any", pooch).HTTPDownloader(timeout=_PATIENCE)  # pyright: ignore[reportPossiblyUnboundVariable]
        tell(f"Downloading {publication.name} from {self.address} ...")
        for file in publication.files:
            name = f"{file.name}.gz"
            try:
                fetch(f"{self.address}/{name}", str(folder / name), None)
            except OSError as error:
                raise DataError(f"{name} could not be downloaded ({_cause(error)})") from None
        return folder


def _cause(error: BaseException) -> str:
    """Innermost cause: requests wraps the system's message in several layers of retries."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__
