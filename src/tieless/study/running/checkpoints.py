"""Checkpoints of trials that have not ended, each a file beside the store."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tieless._files import write_whole
from tieless.errors import StudyError

_FOLDER = "checkpoints"


class Checkpoints:
    """Checkpoints in the folder of a study, by the ids of trials. Each is written whole or not at all.

    Args:
        folder: Folder of the study.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _FOLDER

    def load(self, trial_id: str) -> bytes:
        """State of a trial after its last checkpoint; empty if there is none that can be read."""
        with contextlib.suppress(OSError):
            return (self._folder / trial_id).read_bytes()
        return b""

    def save(self, trial_id: str, state: bytes) -> None:
        """Keep the state of a trial, in the place of an earlier one.

        Raises:
            StudyError: the file cannot be written; the earlier one is as it was.
        """
        try:
            self._folder.mkdir(exist_ok=True)
            write_whole(self._folder / trial_id, state)
        except OSError as error:
            raise StudyError(f"Cannot write {self._folder / trial_id}: {error.strerror or error}.") from None

    def drop(self, trial_id: str) -> None:
        """Delete the checkpoint of a trial that has ended, and the folder with the last one."""
        with contextlib.suppress(OSError):
            (self._folder / trial_id).unlink()
            self._folder.rmdir()
