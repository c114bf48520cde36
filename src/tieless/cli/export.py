"""Command ``tieless export``: a packed network as a program in C, or as ONNX."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from tieless._files import write_whole
from tieless._imports import try_import
from tieless.cli.terminal import say
from tieless.errors import DeployError


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", "target", type=click.Choice(["c", "onnx"]), required=True, help="Language of the export.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder for the files.")
@click.option("--name", metavar="NAME", help="Name of the files, and prefix of the names in C  [that of FILE].")
@click.option(
    "--pixel",
    type=(float, float),
    metavar="FACTOR OFFSET",
    help="C: a byte of the input stands for byte * FACTOR + OFFSET  [for the network's own integers].",
)
def export(file: Path, target: str, out: Path, name: str | None, pixel: tuple[float, float] | None) -> None:
    """Export a packed network as C or ONNX.

    FILE is what tieless.deploy.pack wrote.

    C: a header and a source in C99 that need nothing but memory, for a network that is integer to its ends
    (pack with ends="int8"). ONNX: standard operators, for any packed network.
    """
    # The extra `deploy` is needed by this command alone.
    with try_import("deploy") as deploy_extra:
        import_module("tieless_runtime")
    deploy_extra.check()
    from tieless_runtime import PackedError, read  # noqa: PLC0415

    from tieless.deploy import to_c, to_onnx  # noqa: PLC0415
    from tieless.deploy.c import name_in_c  # noqa: PLC0415

    try:
        network = read(file)
    except PackedError as error:
        raise DeployError(str(error)) from None
    name = name or name_in_c(file.stem)
    if Path(name).name != name:
        raise click.UsageError(f"--name is the name of a file, without its folder, which is --out; got {name!r}.")
    if target == "onnx":
        if pixel is not None:
            raise click.UsageError("--pixel is for C: an ONNX model takes the samples themselves.")
        model, path = to_onnx(network), out / f"{name}.onnx"
        out.mkdir(parents=True, exist_ok=True)
        write_whole(path, model.SerializeToString())
        say(str(path))
        return
    program = to_c(network, name, pixel=pixel)
    for path in program.save(out):
        say(str(path))
    say(f"{program.tables} bytes of tables, {program.scratch} bytes of scratch")
