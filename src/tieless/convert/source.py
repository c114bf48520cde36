"""Source of a function as a tree, and trees as functions again, if and only if that gives the same function."""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import CellType, CodeType, FunctionType

_FUTURE = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


class SourceError(Exception):
    """Error with the reason why the source of a function cannot be used."""


def names_in(code: CodeType) -> frozenset[str]:
    """Attributes and globals that code names, with those of the functions inside it."""
    inner = (names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return frozenset(code.co_names).union(*inner)


def tree_of(function: FunctionType) -> ast.FunctionDef:
    """Definition of a function, without decorators, defaults and annotations, which stay those of the function.

    Raises:
        SourceError: there is no source, or the function was not compiled from it.
    """
    try:
        # Source of the code, not of the function: that would be the source of the function that a decorator wraps.
        lines, first = inspect.getsourcelines(function.__code__)
    except (OSError, TypeError):
        raise SourceError("its source is not there to be read: define it in a file") from None
    # The indentation stays: moving the text would change strings that go over several lines.
    indented = lines[0][:1].isspace()
    text = "".join(["if True:\n", *lines] if indented else lines)
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        raise SourceError("its source cannot be read by itself") from None
    if indented and isinstance(body[0], ast.If):
        body = body[0].body
    definition = body[0]
    if len(body) > 1 or not isinstance(definition, ast.FunctionDef):
        raise SourceError("it is no plain function: write it with def")
    ast.increment_lineno(definition, first - 1 - indented)
    definition.decorator_list, definition.returns = [], None
    arguments = definition.args
    arguments.defaults, arguments.kw_defaults = [], [None] * len(arguments.kwonlyargs)
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    # Without the defaults in front of it the tree is no valid definition: they are constants in the compiled one.
    arguments.defaults = [ast.copy_location(ast.Constant(None), definition) for _ in function.__defaults__ or ()]
    arguments.kw_defaults = [
        ast.copy_location(ast.Constant(None), definition)
        if (function.__kwdefaults__ or {}).get(a.arg, a) is not a
        else None
        for a in arguments.kwonlyargs
    ]
    if not _same(_compile(definition, function, ()), function.__code__):
        raise SourceError("its source is not what it was compiled from: import it again")
    return definition


def build(definition: ast.FunctionDef, like: FunctionType, values: Mapping[str, object]) -> FunctionType:
    """Function from a changed definition, in everything else like the original.

    Args:
        definition: Changed result of ``tree_of``.
        like: Original function.
        values: Values of the names that the change has introduced.
    """
    code = _compile(definition, like, tuple(values))
    cells = dict(zip(like.__code__.co_freevars, like.__closure__ or (), strict=True))
    cells.update((name, CellType(value)) for name, value in values.items())
    closure = tuple(cells[name] for name in code.co_freevars)
    function = FunctionType(code, like.__globals__, like.__name__, like.__defaults__, closure)
    function.__kwdefaults__ = like.__kwdefaults__
    function.__annotations__ = like.__annotations__
    function.__doc__, function.__module__, function.__qualname__ = like.__doc__, like.__module__, like.__qualname__
    function.__dict__.update(like.__dict__)
    return function


def _compile(definition: ast.FunctionDef, like: FunctionType, names: Sequence[str]) -> CodeType:
    """Compile a definition inside a function whose arguments are the outer names: these are looked up as before."""
    outer = ast.parse("def outer(): pass").body[0]
    assert isinstance(outer, ast.FunctionDef)
    outer.args.args = [ast.arg(name) for name in (*like.__code__.co_freevars, *names)]
    outer.body = [definition]
    # CPython compiles calls such as torch.relu(x) in another way where the file itself imports torch.
    text = "".join(linecache.getlines(like.__code__.co_filename))
    imports: list[ast.stmt] = [ast.Import([ast.alias(name)]) for name in _imported(text)]
    module = ast.fix_missing_locations(ast.Module([*imports, outer], []))
    flags = like.__code__.co_flags & _FUTURE
    compiled = compile(module, like.__code__.co_filename, "exec", flags=flags, dont_inherit=True)
    return _inner(_inner(compiled, "outer"), definition.name)


@lru_cache(maxsize=64)
def _imported(text: str) -> tuple[str, ...]:
    """Names that a file imports at its top level."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return ()
    names = (alias for node in body if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names)
    return tuple(dict.fromkeys((alias.asname or alias.name).partition(".")[0] for alias in names if alias.name != "*"))


def _inner(code: CodeType, name: str) -> CodeType:
    return next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)


def _same(one: CodeType, other: CodeType) -> bool:
    """True if both compute the same. The position in a file, and the depth inside others, do not matter."""
    pairs = zip(one.co_consts, other.co_consts, strict=False)
    return (
        one.co_code == other.co_code
        and one.co_flags | inspect.CO_NESTED == other.co_flags | inspect.CO_NESTED
        and len(one.co_consts) == len(other.co_consts)
        and all(getattr(one, field) == getattr(other, field) for field in _SHAPE)
        and all(_same(a, b) if isinstance(a, CodeType) and isinstance(b, CodeType) else _equal(a, b) for a, b in pairs)
    )


_SHAPE = (
    *("co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_names"),
    *("co_varnames", "co_freevars", "co_cellvars"),
)


def _equal(a: object, b: object) -> bool:
    # Names of functions inside others hold the path to them, which is another one here.
    return type(a) is type(b) and (repr(a) == repr(b) or (isinstance(a, str) and "<locals>" in a))
