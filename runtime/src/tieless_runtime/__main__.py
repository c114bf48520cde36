"""Command ``python -m tieless_runtime``: labels of samples, accuracy, throughput and latency of a packed network."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tieless_runtime.errors import PackedError, PackedInputError
from tieless_runtime.model import Model, in_float32

Array = NDArray[Any]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 if it went well, 2 after an error, which is one line."""
    given = _parser().parse_args(arguments)
    try:
        print("\n".join(_report(given)))
    except (PackedError, OSError, MemoryError) as error:
        print(f"Error: {error or 'The memory of this machine is not enough for that.'}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tieless_runtime", description=__doc__)
    parser.add_argument("model", help="file of a packed network")
    parser.add_argument("--data", required=True, help="file of samples, an array of NumPy (.npy)")
    parser.add_argument("--labels", help="file of their labels, an array of integers (.npy)")
    parser.add_argument("--out", help="file for the labels found (.npy); without it the first ten are printed")
    parser.add_argument("--threads", type=int, default=1, help="threads that share a batch")
    parser.add_argument("--batch", type=int, default=256, help="samples at a time")
    parser.add_argument("--repeat", type=int, default=100, help="single samples whose time is measured")
    return parser


def _report(given: argparse.Namespace) -> list[str]:
    if given.batch < 1 or given.repeat < 1:
        raise PackedInputError("--batch and --repeat must be 1 or more.")
    model = Model.load(given.model, threads=given.threads)
    images = _array(given.data)
    labels = None if given.labels is None else _array(given.labels)
    if images.ndim != 1 + len(model.network.shape) or len(images) == 0:
        raise PackedInputError(f"{given.data} must have shape {('n', *model.network.shape)}, got {images.shape}.")
    if labels is not None and (labels.shape != images.shape[:1] or labels.dtype.kind not in "iu"):
        raise PackedInputError(
            f"{given.labels} must have {len(images)} integers, got {labels.dtype} of shape {labels.shape}."
        )
    model(images[:1])  # the first call compiles
    images = in_float32(images)
    start = time.perf_counter()
    found = np.concatenate(
        [model(images[at : at + given.batch]).argmax(1) for at in range(0, len(images), given.batch)]
    )
    seconds = time.perf_counter() - start
    lines = [f"{len(images)} samples, {given.threads} thread{'s' * (given.threads > 1)}, kernels {model.path}"]
    if given.out is None:
        lines.append(f"labels      {' '.join(map(str, found[:10]))}{' ...' * (len(found) > 10)}")
    else:
        with Path(given.out).open("wb") as file:
            np.save(file, found)
        lines.append(f"labels      {given.out}")
    if labels is not None:
        lines.append(
            f"accuracy    {100 * float((found == labels).mean()):.2f} %, {int((found == labels).sum())} of {len(labels)}"
        )
    lines.append(f"throughput  {len(images) / seconds:.0f} samples a second, {given.batch} at a time")
    lines.append("latency     " + _latency(model, images, given.repeat))
    return lines


def _latency(model: Model, images: Array, repeat: int) -> str:
    """Percentiles of the time of single samples."""
    times: list[float] = []
    for number in range(repeat):
        image = images[number % len(images)]
        start = time.perf_counter()
        model(image)
        times.append(1e3 * (time.perf_counter() - start))
    shares = ", ".join(f"{share} %: {np.percentile(times, share):.3f} ms" for share in (50, 90, 99))
    return f"one sample {shares}"


def _array(path: str) -> Array:
    try:
        with Path(path).open("rb") as file:
            found: Any = np.load(file, allow_pickle=False)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  (NumPy's readers of headers and of archives raise errors of many kinds)
        raise PackedInputError(f"{path} is no array of NumPy (.npy): {' '.join(str(error).split())[:80]}.") from None
    if not isinstance(found, np.ndarray):
        raise PackedInputError(f"{path} has several arrays; one is needed (.npy).")
    return cast("Array", found)


if __name__ == "__main__":
    sys.exit(main())
