"""Places of published files on this machine, in the order in which they are searched. No network here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tieless._imports import try_import
from tieless.data.published import Publication, PublishedFile
from tieless.errors import DataError

with try_import("study") as _study_extra:
    from platformdirs import user_cache_path

VARIABLE = "TIELESS_DATA"
_HOMELESS = (
    "This user has no home folder, where data sets are kept: set HOME, or TIELESS_DATA to a folder with the files of the"
    " data set."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Folder that has, or should have, the files of a publication.

    Args:
        folder: Path of the folder.
        remedy: Advice for the case that its files are damaged.
        ours: True for the user's cache, in which tieless may replace files.
    """

    folder: Path
    remedy: str
    ours: bool = False

    def holds(self, publication: Publication) -> bool:
        """True if every file exists. Its content is checked when it is read."""
        return all(file.find(self.folder) is not None for file in publication.files)

    def read(self, file: PublishedFile) -> Tensor:
        """Values in a file, checked.

        Raises:
            DataError: the same as in ``PublishedFile.read``, with the remedy.
        """
        try:
            return file.read(self.folder)
        except DataError as error:
            raise self.advise(error) from None

    def advise(self, error: DataError) -> DataError:
        """Same error with the remedy."""
        return DataError(f"{error} {self.remedy}")


def cache_folder() -> Path:
    """Folder in the user's cache for the files of data sets.

    Raises:
        DataError: the user has no home folder, and no variable names a cache.
    """
    _study_extra.check()
    try:
        folder = user_cache_path("tieless") / "data"  # pyright: ignore[reportPossiblyUnboundVariable]
    except RuntimeError:
        raise DataError(_HOMELESS) from None
    if not folder.is_absolute():  # an older platformdirs, which would make a folder that is called ~
        raise DataError(_HOMELESS)
    return folder


def cache(publication: Publication) -> Place:
    """Cache of the user, into which ``get`` puts the files that it fetches.

    Raises:
        DataError: the same as in ``cache_folder``.
    """
    folder = cache_folder() / publication.name
    return Place(folder, f"Fetch it again: tieless data get {publication.name}", ours=True)


def _own(publication: Publication) -> list[Place]:
    """Cache of the user; none without a home folder, which is an error only where a file has to be written."""
    try:
        return [cache(publication)]
    except DataError:
        return []


def _expanded(folder: str) -> Path:
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        raise DataError(_HOMELESS) from None


def given(folder: Path, publication: Publication, remedy: str) -> Place:
    """Folder that the user named: the files lie in it, or in a folder in it that is named after the data set."""
    inner = folder / publication.name
    return Place(inner if inner.is_dir() else folder, remedy)


def installed(publication: Publication) -> list[Place]:
    """Folders of the system, in which the suppliers' packages install the files."""
    advice = f"or set {VARIABLE} to a folder with sound files."
    return [
        Place(supplier.installed, f"{supplier.repair}, {advice}")
        for supplier in publication.suppliers
        if supplier.installed is not None
    ]


def find(publication: Publication) -> Place | None:
    """First place that has any of the files: ``TIELESS_DATA``, the system's folder, the user's cache.

    If ``TIELESS_DATA`` is set it is the place, whatever is in it: a folder that the user named is never passed over.

    Returns:
        Place, or ``None`` if nothing was named and no place has any of the files.
    Raises:
        DataError: a place may not be looked into.
    """
    try:
        if variable := os.environ.get(VARIABLE):
            remedy = f"{VARIABLE} is set: put the published files of {publication.name} there, or unset it."
            return given(_expanded(variable), publication, remedy)
        for place in (*installed(publication), *_own(publication)):
            if any(file.begun(place.folder) for file in publication.files):
                return place
    except PermissionError as error:
        raise DataError(f"{error.filename} cannot be looked into: {error.strerror}.") from None
    return None


def found(publication: Publication) -> Place:
    """Place that ``find`` returns.

    Raises:
        DataError: there is none, or a place may not be looked into.
    """
    place = find(publication)
    if place is None:
        raise DataError(f"{publication.name} is not on this machine. Fetch it: tieless data get {publication.name}")
    return place
