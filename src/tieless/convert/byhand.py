"""Activations that are written out, such as ``torch.where(x > 0, x, 0.1 * x)``: they are reported, not exchanged."""

from __future__ import annotations

import ast

_BOUNDED = frozenset({"clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_min_", "maximum", "max"})


def written_out(node: ast.AST) -> str | None:
    """Name of the form of activation that an expression has; ``None`` in doubt.

    The forms are: an error function; a choice or product by the sign of the chosen value (``where(x > 0, x, ...)``,
    ``x * (x > 0)``); a clamp from 0 or to symmetric bounds; the larger of two values if one is zero or a multiple of
    the other; and one over one plus an exponential.

    Example:
        >>> [written_out(ast.parse(text, mode="eval").body) for text in ("x.clamp(min=0)", "norm.clamp(min=1e-6)")]
        ['clamp', None]
    """
    if isinstance(node, ast.BinOp):
        return _operation(node)
    if not isinstance(node, ast.Call):
        return None
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in {"erf", "erf_"}:
        return "erf"
    if name == "where":
        return "where" if _by_its_own(node) else None
    return name.removesuffix("_") if name in _BOUNDED and _bounds_alike(node, name) else None


def _operation(node: ast.BinOp) -> str | None:
    if isinstance(node.op, ast.Mult):
        pairs = ((node.left, node.right), (node.right, node.left))
        return next(("a product with its own comparison" for a, b in pairs if _compared(b) & {ast.dump(a)}), None)
    if isinstance(node.op, ast.Div) and isinstance(node.right, ast.BinOp) and isinstance(node.right.op, ast.Add):
        parts = (node.right.left, node.right.right)
        if any(_number(part) == 1 for part in parts) and any(_is_exp(part) for part in parts):
            return "one over one plus exp"
    return None


def _by_its_own(node: ast.Call) -> bool:
    given = list(node.args)
    if isinstance(node.func, ast.Attribute) and len(given) == 2:  # x.where(x > 0, y)
        given = [given[0], node.func.value, given[1]]
    if len(given) != 3:
        return False
    compared = _compared(given[0])
    return any(ast.dump(part) in compared for branch in given[1:] for part in ast.walk(branch))


def _compared(node: ast.AST) -> set[str]:
    """Expressions that are compared with a number in an expression."""
    found: set[str] = set()
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        # (x > 0).float(), (x > 0).to(x.dtype)
        node = node.func.value if not node.args or node.func.attr in {"to", "type"} else node
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        if not isinstance(node.ops[0], (ast.Gt, ast.GtE, ast.Lt, ast.LtE)):
            return found
        for one, other in ((node.left, node.comparators[0]), (node.comparators[0], node.left)):
            if _number(other) is not None and not isinstance(one, ast.Constant):
                found.add(ast.dump(one))
    return found


def _bounds_alike(node: ast.Call, name: str) -> bool:
    of_tensor = isinstance(node.func, ast.Attribute) and not (
        isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
    )
    given = list(node.args) if of_tensor else node.args[1:]
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    least = named.get("min", given[0] if given else None)
    most = named.get("max", given[1] if len(given) > 1 else None)
    if name in {"maximum", "max"}:
        whole = [node.func.value, *given] if isinstance(node.func, ast.Attribute) and of_tensor else list(node.args)
        return len(whole) == 2 and (_is_zero_tensor(whole[1]) or _is_scaled(whole[0], whole[1]))
    low, high = _number(least), _number(most)
    return low is not None and (
        (low == 0 and (most is None or high is not None)) or (high is not None and low == -high)
    )


def _is_scaled(one: ast.expr, other: ast.expr) -> bool:
    """True if one of two expressions is a number times the other."""
    return any(
        isinstance(b, ast.BinOp)
        and isinstance(b.op, ast.Mult)
        and ast.dump(a) in {ast.dump(b.left), ast.dump(b.right)}
        and any(_number(part) is not None for part in (b.left, b.right))
        for a, b in ((one, other), (other, one))
    )


def _number(node: ast.AST | None) -> float | None:
    try:
        value = ast.literal_eval(node) if isinstance(node, ast.expr) else None
    except ValueError:
        return None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _is_zero_tensor(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    return name in {"zeros", "zeros_like", "new_zeros"} or (
        name in {"tensor", "new_tensor", "as_tensor"} and bool(node.args) and _number(node.args[0]) == 0
    )


def _is_exp(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "exp"
