"""A Python file: one tool per public function and per public method of a public class.

The file is imported, because the user named it, and nothing in it is called. What a tool takes are the parameters of
its signature, what they hold their type hints, what they mean its docstring. Dataclasses, TypedDicts, enums, models and
exceptions are types of parameters, not tools. With `__all__`, only what it lists is read. What begins with an
underscore is the file's own business.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib.util
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from iterft.toolsets.docstrings import parameter_texts, summary
from iterft.toolsets.hints import UNREADABLE, object_schema, schema_of
from iterft.toolsets.parts import Definition, Refusal, define

_NOT_NAMED = {
    inspect.Parameter.VAR_POSITIONAL: "*{} cannot be written as a named argument; give it a name and a list",
    inspect.Parameter.VAR_KEYWORD: "**{} does not say which arguments there are; name them",
    inspect.Parameter.POSITIONAL_ONLY: "{} is positional only; arguments of calls are named",
}


def load_module(path: Path) -> ModuleType:
    """ValueError when the file cannot be imported."""
    name = f"iterft_toolset_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while they are made
    sys.path.insert(0, str(path.parent.resolve()))
    arguments, sys.argv = sys.argv, [str(path)]  # a file that reads its arguments has none of ours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's code: whatever it raises is why the file cannot be read
        raise ValueError(f"cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.argv = arguments
        sys.path.remove(str(path.parent.resolve()))
    return module


def fits(document: Any) -> bool:
    return isinstance(document, ModuleType)


def read(module: ModuleType) -> Iterator[Definition | Refusal]:
    for name, member in _public(module):
        if inspect.isfunction(_unwrapped(member)):
            yield _tool(name, _unwrapped(member), group="", skip_first=False)
        elif isinstance(member, type) and not _is_data(member):
            for method, raw in vars(member).items():
                inner = _unwrapped(raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw)
                if not method.startswith("_") and inspect.isfunction(inner):
                    yield _tool(f"{name}.{method}", inner, name, skip_first=not isinstance(raw, staticmethod))


def _public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """What the file lists in `__all__`, else what it defines itself, in the order in which it is written."""
    listed = getattr(module, "__all__", None)
    for name in listed if listed is not None else vars(module):
        member = getattr(module, name, None)
        is_own = getattr(member, "__module__", None) == module.__name__
        if (listed is not None) or (is_own and not name.startswith("_")):
            yield name, member


def _unwrapped(member: Any) -> Any:
    """The function inside of a cache or another wrapper that says what it wraps."""
    return inspect.unwrap(member) if callable(member) and not isinstance(member, type) else member


def _is_data(kind: type) -> bool:
    is_model = hasattr(kind, "model_json_schema") or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    is_typed = dataclasses.is_dataclass(kind) or typing.is_typeddict(kind) or getattr(kind, "_is_protocol", False)
    return is_model or is_typed or issubclass(kind, enum.Enum | BaseException)


def _tool(name: str, function: Callable[..., Any], group: str, skip_first: bool) -> Definition | Refusal:
    doc = inspect.getdoc(function) or ""
    description = summary(doc)
    if not description:
        why = "docstring missing; write one, or begin the name with an underscore if it is no tool"
        return Refusal(name, (why,))
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        schema = _parameters(function, hints, parameter_texts(doc), skip_first)
    except UNREADABLE as error:
        return Refusal(name, (str(error),))
    return define(name, description, schema, _returns(hints.get("return")), group)


def _parameters(
    function: Callable[..., Any], hints: Mapping[str, Any], texts: Mapping[str, str], skip_first: bool
) -> dict[str, Any]:
    """ValueError, beginning with the parameter, for one that has no schema."""
    parameters = list(inspect.signature(function).parameters.values())[1 if skip_first else 0 :]
    fields, optional = {}, {}
    for parameter in parameters:
        if parameter.kind in _NOT_NAMED:
            raise ValueError(f"{parameter.name}: {_NOT_NAMED[parameter.kind].format(parameter.name)}")
        if parameter.name not in hints:
            raise ValueError(f"{parameter.name}: type hint missing")
        fields[parameter.name] = hints[parameter.name]
        if parameter.default is not inspect.Parameter.empty:
            optional[parameter.name] = parameter.default
    return dict(object_schema(fields, optional, texts, 0))


def _returns(hint: Any) -> dict[str, Any] | None:
    """The schema of the result; None where the hint tells none. Results are only read, so a vague hint is no fault."""
    if hint is None:
        return None
    try:
        return schema_of(hint)
    except UNREADABLE:
        return None
