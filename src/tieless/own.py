"""Code of the user's own: modules that the user named, imported, known by a hash of their source, and carried along.

Nothing is imported but for ``use`` and ``load``, and nothing calls these but for a user who names the module: on the
command line, in Python, or in a run that has begun so. A spec such as ``mynet.py:Net`` only finds what they imported.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from tieless.errors import SpecError
from tieless.grammar import shown
from tieless.registry import forget_caches

_SPEC = re.compile(r"(?P<code>[^()'\"=:]+(?::[\\/][^()'\"=:]*)?):(?P<object>[^\W\d]\w*(?:\(.*\))?)", re.DOTALL)
_SITES = {"site-packages", "dist-packages"}
"""Names of the folders in which packages are installed."""
_DIGITS = 16
"""Number of hexadecimal digits of a hash that tell two versions apart."""


@dataclass(frozen=True, slots=True)
class Part:
    """Module of the user's code.

    Args:
        module: Dotted name.
        file: Path from which it was read, or that of its folder if it is a package without code.
        content: Source.
        package: True for a package.
    """

    module: str
    file: str
    content: bytes
    package: bool


@dataclass(frozen=True, slots=True)
class Code:
    """Module of the user's own with the modules beside it that it imports, as they were read: a value to send along.

    Args:
        name: Name as the user gave it: the path of a file, ``"mynet.py"``, or a module, ``"mine.nets"``.
        module: Dotted name of the module.
        parts: Sources, the module's own and those of all modules of the same folder, or package, that it imports.
        script: True for the script that Python was started with.
    """

    name: str
    module: str
    parts: tuple[Part, ...]
    script: bool = False

    @property
    def sha256(self) -> str:
        """SHA-256 of all sources, in hexadecimal digits. It does not depend on the folder."""
        found = hashlib.sha256()
        for part in self.parts:
            for text in (part.module.encode(), part.content):
                found.update(len(text).to_bytes(8, "big") + text)
        return found.hexdigest()

    @property
    def label(self) -> str:
        """Name of the module and the beginning of the hash: ``"mynet 1a2b3c4d5e6f7a8b"``."""
        return f"{self.module} {self.sha256[:_DIGITS]}"


class _Memory(MetaPathFinder, SourceLoader):
    """Finder and loader of the modules whose sources were read: the code that runs is the code that was hashed."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        part = self.parts.get(fullname)
        if part is None:
            return None
        folder = [part.file if not part.content and part.package else os.path.dirname(part.file)]  # noqa: PTH120
        return spec_from_file_location(
            fullname, part.file, loader=self, submodule_search_locations=folder if part.package else None
        )

    def get_filename(self, fullname: str) -> str:
        return self.parts[fullname].file

    def is_package(self, fullname: str) -> bool:
        return self.parts[fullname].package

    def get_data(self, path: str | bytes) -> bytes:
        return next((part.content for part in self.parts.values() if part.file == path), b"")


_MEMORY = _Memory()
_LOADED: dict[str, Code] = {}
"""Code that this process has imported, by its module."""
_REGISTERED: dict[str, Code | None] = {}
"""Code of modules that were imported by other means and have registered something."""


def is_named(name: str) -> bool:
    """True if a module was imported by this name, or by another one of the same file."""
    return _named(name) is not None


def same(name: str, other: str) -> bool:
    """True if two names are those of one module."""
    return _key(name) == _key(other)


def _named(name: str) -> Code | None:
    return next((code for code in _LOADED.values() if _key(code.name) == _key(name)), None)


def use(name: str) -> Code:
    """Import a module that the user has named, and let specs name the objects in it.

    Args:
        name: Path of a file that ends in ``.py``, or dotted name of a module. A file that has changed is imported anew.
    Returns:
        Code, with the sources of the modules beside it that it imports.
    Raises:
        SpecError: there is no such module, its source cannot be read or parsed, its name is that of another module, or
            its import fails. The message is one line.
    Example:
        >>> use("absent.py")
        Traceback (most recent call last):
            ...
        tieless.errors.SpecError: Cannot import absent.py: there is no such file in this folder.
    """
    code = read(name)
    load(code)
    return code


def load(code: Code) -> None:
    """Import code, from the sources that it brings, unless this process has it.

    Raises:
        SpecError: the import fails, or this process has another module of one of its names.
    """
    before = _LOADED.get(code.module)
    if before is not None and before.parts == code.parts:
        return
    if before is not None and before.parts[0].file == code.parts[0].file:
        _forget(before.parts)
    _check_apart(code)
    if _MEMORY not in sys.meta_path:
        # First, so that what is imported is what was hashed. No module that is installed has the name of one of ours.
        sys.meta_path.insert(0, _MEMORY)
    _MEMORY.parts.update({part.module: part for part in code.parts})
    try:
        importlib.import_module(code.module)
    except (Exception, SystemExit) as error:
        _forget(code.parts)
        raise SpecError(f"Cannot import {code.name}: {_reason(error, code)}") from error
    _LOADED[code.module] = code
    forget_caches()


def _check_apart(code: Code) -> None:
    """Raise an error if a module is there under the name of one of the code's, and is another one."""
    for part in code.parts:
        there = sys.modules.get(part.module)
        if there is None or not _SITES.isdisjoint(Path(part.file).parts):
            continue
        if _file_of(there) != (part.file if part.file.endswith(".py") else ""):
            raise SpecError(
                f"Cannot import {code.name}: this process has another module {part.module}. Rename {part.file}."
            )
        if _MEMORY.parts.get(part.module, part) != part:  # its file has changed since
            _forget([part])


def _forget(parts: Iterable[Part]) -> None:
    for part in parts:
        _LOADED.pop(part.module, None)
        sys.modules.pop(part.module, None)
        _MEMORY.parts.pop(part.module, None)


def _file_of(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return os.path.realpath(file) if file else ""


def _reason(error: BaseException, code: Code) -> str:
    """Error in one line, with the last line of the user's code that it passed through."""
    files, place, trace = {part.file for part in code.parts}, "", error.__traceback__
    while trace is not None:
        if (file := trace.tb_frame.f_code.co_filename) in files:
            place = f" ({Path(file).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    lines = str(error).splitlines() or [""]
    told = f"{type(error).__name__}{': ' * bool(lines[0])}{lines[0].rstrip('.')}{place}."
    file = Path(code.parts[0].file)
    if isinstance(error, ImportError) and "relative import" in lines[0] and (file.parent / "__init__.py").is_file():
        told += f" Name it as a module of its package: --import {_package(file.parent)}.{code.module}"
    return told


def _package(folder: Path) -> str:
    """Dotted name of the package in a folder, with those around it."""
    outer = folder.parent
    return f"{_package(outer)}.{folder.name}" if (outer / "__init__.py").is_file() else folder.name


def read(name: str) -> Code:
    """Read the sources of a module and of those beside it that it imports, without running anything.

    Raises:
        SpecError: there is no such module, or a source cannot be read or parsed.
    """
    if _is_file(name):
        file = Path(name)
        module = file.stem
        if not file.is_file():
            where = "there" if file.is_absolute() or len(file.parts) > 1 else "in this folder"
            raise SpecError(f"Cannot import {shown(name)[1:-1]}: there is no such file {where}.")
        if "." in module or not module:
            raise SpecError(f"Cannot import {name}: a module has no dot in its name. Rename the file.")
        file = Path(os.path.realpath(file))
        if module == "__init__":
            raise SpecError(
                f"Cannot import {name}: it is a package. Name it as a module: --import {_package(file.parent)}"
            )
        _check_free(name, module, file)
        return Code(_written(name), module, _closure(name, {module: file}, file.parent))
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name):
        raise SpecError(f"Cannot import {shown(name)}: expected FILE.py, or the name of a module such as mine.nets.")
    return _of_module(name, _find(name))


def _of_module(name: str, file: Path) -> Code:
    depth = name.count(".") + (file.name == "__init__.py")
    return Code(name, name, _closure(name, {name: file}, file.parents[depth]))


def _is_file(name: str) -> bool:
    return name.endswith(".py") or "/" in name or os.sep in name


def _written(name: str) -> str:
    return Path(os.path.normpath(name)).as_posix() if _is_file(name) else name


def _key(name: str) -> str:
    return os.path.realpath(name) if _is_file(name) else name


def _check_free(name: str, module: str, file: Path) -> None:
    """Raise an error if a module that is installed has the name of a file."""
    found = _installed(module)
    if module in sys.stdlib_module_names or (found is not None and os.path.realpath(found) != str(file)):
        raise SpecError(f"Cannot import {name}: {module} is a module that is installed. Rename the file.")


def _installed(module: str) -> str | None:
    """Path of a module of the top level on Python's path, or a word if it has none; ``None`` if it is not there."""
    try:
        spec = PathFinder.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.loader is None:  # a folder without code is no module that anybody installed
        return None
    return spec.origin or "built in"


def _find(name: str) -> Path:
    """File of a module on Python's path, or in this folder. Nothing is imported, not even the packages around it."""
    path: Sequence[str] | None = [*sys.path, str(Path.cwd())]  # the command's own path does not have it
    spec: ModuleSpec | None = None
    for depth in range(name.count(".") + 1):
        spec = PathFinder.find_spec(".".join(name.split(".")[: depth + 1]), path)
        if spec is None:
            break
        path = spec.submodule_search_locations
    if spec is None or not (spec.origin or "").endswith(".py"):
        raise SpecError(
            f"Cannot import {name}: there is no module of this name on Python's path or in this folder. A file ends in .py."
        )
    return Path(os.path.realpath(str(spec.origin)))


def _closure(name: str, start: Mapping[str, Path], root: Path) -> tuple[Part, ...]:
    """Sources of a module and of all that it imports from its folder; of an installed one, from its package."""
    found: dict[str, Part] = {}
    seen: set[str] = set()
    installed = not _SITES.isdisjoint(root.parts)
    waiting = dict(start)
    while waiting:
        module, file = waiting.popitem()
        part = _part(name, module, file)
        found[module] = part
        for other in {*_imported(name, part)} - seen:
            seen.add(other)
            if installed and other.partition(".")[0] != module.partition(".")[0]:
                continue
            near = _beside(name, other, root)
            waiting.update({one: place for one, place in near.items() if one not in found})
    (first,) = start
    return (found.pop(first), *(found[module] for module in sorted(found)))


def _part(name: str, module: str, file: Path) -> Part:
    if file.is_dir():
        return Part(module, str(file), b"", package=True)
    try:
        return Part(module, str(file), file.read_bytes(), package=file.name == "__init__.py")
    except OSError as error:
        raise SpecError(f"Cannot import {name}: {file} cannot be read: {error.strerror}.") from None


def _imported(name: str, part: Part) -> Iterator[str]:
    """Names of the modules that a source may import, those in functions too."""
    try:
        tree = ast.parse(part.content)
    except SyntaxError as error:
        raise SpecError(f"Cannot import {name}: {Path(part.file).name}, line {error.lineno}: {error.msg}.") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise SpecError(f"Cannot import {name}: {Path(part.file).name} is no Python ({error}).") from None
    around = part.module.split(".") if part.package else part.module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            before = around[: len(around) - node.level + 1] if node.level else []
            whole = ".".join([*before, *filter(None, [node.module])])
            if whole:
                yield whole
            yield from (".".join(filter(None, [whole, alias.name])) for alias in node.names if alias.name != "*")


def _beside(name: str, module: str, root: Path) -> dict[str, Path]:
    """Module of a folder by a dotted name, or as much of the name as is a module, and the packages around it."""
    top, *_ = names = module.split(".")
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return {}
    for length in range(len(names), 0, -1):
        place = root.joinpath(*names[:length])
        file = next(
            (one for one in (place / "__init__.py", place.with_name(f"{place.name}.py")) if one.is_file()), None
        )
        if file is None:
            continue
        found = {".".join(names[:length]): Path(os.path.realpath(file))}
        for depth in range(1, length):
            folder = root.joinpath(*names[:depth])
            code = folder / "__init__.py"
            found[".".join(names[:depth])] = Path(os.path.realpath(code if code.is_file() else folder))
        there = _installed(top)
        if there is not None and not Path(os.path.realpath(there)).is_relative_to(Path(os.path.realpath(root))):
            raise SpecError(
                f"Cannot import {name}: it imports {top}, and there are two: {file} and the one that is installed, {there}."
                " Rename yours."
            )
        return found
    return {}


def split(spec: str) -> tuple[str, str] | None:
    """Parts of a spec that names an object of the user's own; ``None`` for any other spec.

    Returns:
        Name of the code as it is written, and the object with its arguments.
    Example:
        >>> split("./mynet.py:Net(width=64)"), split("mine.nets:Net"), split("mlp(64, 2)")
        (('mynet.py', 'Net(width=64)'), ('mine.nets', 'Net'), None)
    """
    match = _SPEC.fullmatch(spec.strip())
    return None if match is None else (_written(match["code"].strip()), match["object"])


def find(name: str, attribute: str) -> object:
    """Object of a module that the user has named. It must be defined there, or in a module beside it.

    Raises:
        SpecError: nobody named the module, or it defines no such class or function.
    """
    code = _named(name)
    if code is None:
        raise SpecError(f"{name}:{attribute} is code that nobody has allowed to run. If you trust it: --import {name}")
    found = getattr(sys.modules[code.module], attribute, None)
    own = {part.module for part in code.parts}
    if not callable(found) or getattr(found, "__module__", None) not in own:
        there = sorted(
            key
            for key, value in vars(sys.modules[code.module]).items()
            if callable(value) and getattr(value, "__module__", None) in own and not key.startswith("_")
        )
        problem = "is no class or function that it defines" if found is not None else "does not exist"
        raise SpecError(f"{name}: {attribute} {problem}. There are: {', '.join(there) or 'none'}.")
    return found


def code_of(module: str) -> Code | None:
    """Code of a module that has registered something, by whatever means it was imported.

    Returns:
        Code, or ``None`` for a module of tieless, or one without a file, such as that of an interactive session.
    """
    if module.partition(".")[0] == __name__.partition(".")[0]:
        return None
    for code in _LOADED.values():
        if any(part.module == module for part in code.parts):
            return code
    if module not in _REGISTERED:
        _REGISTERED[module] = _registered(module)
    return _REGISTERED[module]


def _registered(module: str) -> Code | None:
    file = _file_of(sys.modules[module]) if module in sys.modules else ""
    if not file.endswith(".py") or not Path(file).is_file():
        return None
    if module in {"__main__", "__mp_main__"}:
        name = Path(file).stem
        return Code(file, name, _closure(file, {name: Path(file)}, Path(file).parent), script=True)
    return _of_module(module, Path(file))
