"""Acquisition of published files for this machine, from the nearest place that has them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tieless.data.places import VARIABLE, cache, find, given, installed
from tieless.data.published import Publication, Tell
from tieless.errors import DataError


def acquire(publication: Publication, source: Path | None, tell: Tell) -> Path:
    """Get all files of a publication onto this machine, each checked, and return their folder.

    In this order: ``source``, copied into the user's cache; ``TIELESS_DATA``; the system's folder, where one of the
    suppliers installs into it; the user's cache; each supplier, fetched into the user's cache. A folder that is not the
    cache is used as it is and never written to; a damaged cache is replaced.

    Args:
        publication: Publication to get.
        source: Folder that has the files; ``None`` to look for them.
        tell: Function that gets a line of text about everything that takes long.
    Raises:
        DataError: no source has them, the files found are not the published ones, or the cache cannot be written.
    """
    own = cache(publication)
    if source is not None:
        if os.environ.get(VARIABLE):
            raise DataError(f"{VARIABLE} is set and would be read instead of what --from {source} gives: unset one.")
        place = given(source, publication, f"Give --from a folder with the published files of {publication.name}.")
        try:
            contents = read_all(publication, place.folder)
        except DataError as error:
            raise place.advise(error) from None
        return _write_all(contents, own.folder)
    place = find(publication)
    if place is not None:
        try:
            read_all(publication, place.folder)
        except DataError as error:
            if not place.ours:
                raise place.advise(error) from None
            tell(f"{error} Fetching all of it again ...")
        else:
            return place.folder
    return _write_all(_fetch(publication, own.folder, tell), own.folder)


def _fetch(publication: Publication, target: Path, tell: Tell) -> Mapping[str, bytes]:
    """The content of every file, from the first supplier that has it."""
    _write_all({}, target)
    failed = [
        f"{VARIABLE}: not set",
        *(f"{place.folder}: not there" for place in installed(publication)),
        f"{target}: not there, or not sound",
    ]
    for supplier in publication.suppliers:
        try:
            with tempfile.TemporaryDirectory(prefix="tieless-") as folder:
                return read_all(publication, supplier.fetch(publication, Path(folder), tell))
        except (DataError, OSError) as error:  # noqa: PERF203 - the next one is tried after a failure
            failed.append(f"{supplier.title}: {str(error).rstrip('.')}")
    raise DataError(
        f"{publication.name} cannot be had. Tried {'; '.join(failed)}. "
        f"Bring the files from elsewhere: tieless data get {publication.name} --from DIR"
    )


def read_all(publication: Publication, folder: Path) -> Mapping[str, bytes]:
    """Contents of all files of a publication in a folder, each checked."""
    return {file.name: file.content(folder) for file in publication.files}


def _write_all(contents: Mapping[str, bytes], target: Path) -> Path:
    """Write checked contents; no file is ever seen half-written."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=target) as part:
            for name, content in contents.items():
                path = Path(part) / name
                path.write_bytes(content)
                path.replace(target / name)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}.") from None
    return target
