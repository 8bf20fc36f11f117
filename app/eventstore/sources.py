"""The source of functions and classes, and of all of ours that they name: what tells whether other code folded something."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import blake2b
from types import CodeType, FunctionType, ModuleType
from typing import Any


def digest(parts: Iterable[str]) -> str:
    """A hash of texts and of their order."""
    made = blake2b(digest_size=12)
    for part in parts:
        made.update(part.encode() + b"\0")
    return made.hexdigest()


def sources(roots: Iterable[Any]) -> Iterator[str]:
    """The code of the functions and classes, and of every one of ours that they name, directly or not."""
    return map(source, reachable(roots))


def reachable(roots: Iterable[Any]) -> list[Any]:
    """The functions and classes, and those of the service and of their own packages that their code names, each once."""
    waiting = list(roots)
    packages = {"app", "projections", *map(_package, waiting)}
    found: set[Any] = set()
    while waiting:
        thing = waiting.pop()
        if thing not in found:
            found.add(thing)
            waiting.extend(named for named in _named_by(thing) if _package(named) in packages)
    return sorted(found, key=lambda thing: (thing.__module__, thing.__qualname__))


def _named_by(thing: Any) -> Iterator[Any]:
    for function in [thing] if isinstance(thing, FunctionType) else _functions(thing):
        names = set(_names(function.__code__))
        scope = {name: function.__globals__[name] for name in names if name in function.__globals__}
        modules = [value for value in scope.values() if isinstance(value, ModuleType)]
        through_modules = (getattr(module, name) for module in modules for name in names if hasattr(module, name))
        yield from (each for each in (*scope.values(), *through_modules) if isinstance(each, (FunctionType, type)))


def _functions(cls: type) -> Iterator[FunctionType]:
    for member in vars(cls).values():
        function = member.fget if isinstance(member, property) else member
        if isinstance(function, FunctionType) and function.__module__ == cls.__module__:
            yield function


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


@cache
def source(thing: Any) -> str:
    """The code of a function or class; of its whole module where that cannot be told apart, as for a lambda."""
    parts = _parts(thing.__module__)
    return ast.unparse(parts.get(thing.__qualname__) or parts[""])


@cache
def _parts(module: str) -> dict[str, ast.AST]:
    """The functions and classes of a module by their qualified names, and the module itself under the empty name.

    `inspect.getsource` parses the module again for each class that it is asked for.
    """
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {"": tree, **dict(_definitions(tree, ""))}


def _definitions(parent: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.iter_child_nodes(parent):
        inner = prefix
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield f"{prefix}{node.name}", node
            inner = f"{prefix}{node.name}." if isinstance(node, ast.ClassDef) else f"{prefix}{node.name}.<locals>."
        yield from _definitions(node, inner)


def _package(thing: Any) -> str:
    return str(thing.__module__).partition(".")[0]
