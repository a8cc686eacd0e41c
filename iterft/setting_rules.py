"""Settings with rules: fields of a dataclass that say what they may be, and one `ValueError` for the first that is not.

Not here: which settings there are (`config`, `recipe`).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from copy import copy
from dataclasses import field, fields, is_dataclass
from typing import Any


def setting(
    default: Any, rule: str = "", check: Callable[[Any], bool] | None = None, *, is_private: bool = False
) -> Any:
    """A field with a default and, optionally, a rule in words and the predicate behind it. `is_private`: a value that
    breaks the rule is not repeated in the error, as people put secrets there by mistake."""
    metadata = {"rule": (rule, check), "is_private": is_private} if check else {}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def positive(default: Any) -> Any:
    return setting(default, "must be greater than 0", lambda value: value > 0)


def at_least(minimum: float, default: Any) -> Any:
    return setting(default, f"must be at least {minimum}", lambda value: value >= minimum)


def finite(default: float) -> Any:
    return setting(default, "must be a finite number", math.isfinite)


def share(default: float) -> Any:
    return setting(default, "must lie in [0, 1]", lambda value: 0 <= value <= 1)


def one_of(default: str, *choices: str) -> Any:
    return setting(default, "must be one of " + ", ".join(choices), lambda value: value in choices)


def matching(default: str, pattern: str, rule: str) -> Any:
    """Text that fits `pattern` as a whole, and may hold a secret where it does not."""
    return setting(default, rule, lambda value: bool(re.fullmatch(pattern, value)), is_private=True)


def list_of(default: list[str], *choices: str) -> Any:
    rule = ("must hold one or more of " if default else "may hold ") + ", ".join(choices)
    return setting(default, rule, lambda values: bool(values or not default) and set(values) <= set(choices))


def reject_unknown_keys(content: dict[Any, Any], schema: type, origin: str, prefix: str = "") -> None:
    """ValueError for the first key that the dataclass does not have, or whose value is of another kind: a section, a
    list, a mapping."""
    known = {entry.name: entry for entry in fields(schema)}
    for key, value in content.items():
        if key not in known:
            raise ValueError(f"{origin}: unknown key '{prefix}{key}'{nearest(str(key), list(known))}")
        factory = known[key].default_factory
        if isinstance(factory, type) and is_dataclass(factory):
            if not isinstance(value, dict):
                raise ValueError(
                    f"{origin}: key '{prefix}{key}': must be a mapping of keys to values, but is {value!r}"
                )
            reject_unknown_keys(value, factory, origin, f"{prefix}{key}.")
        elif callable(factory) and isinstance(value, (list, dict)) and not isinstance(value, type(usual := factory())):
            wanted = "a list" if isinstance(usual, list) else "a mapping of names to values"
            raise ValueError(f"{origin}: key '{prefix}{key}': must be {wanted}, but is {value!r}")


def nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def nearest_choice(value: Any, choices: list[str]) -> str:
    """Of a word, or of the first in a list that is none of the choices."""
    words = [value] if isinstance(value, str) else value
    wrong = [word for word in words if word not in choices] if isinstance(words, list) else []
    return nearest(wrong[0], choices) if wrong else ""


def validate(settings: Any, prefix: str = "") -> None:
    """ValueError for the first value that breaks its rule, sections within included."""
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        if is_dataclass(value):
            validate(value, f"{prefix}{entry.name}.")
        elif "rule" in entry.metadata:
            rule, check = entry.metadata["rule"]
            if isinstance(value, float) and not math.isfinite(value):
                rule, check = "must be a finite number", math.isfinite
            if not check(value):
                if entry.metadata["is_private"]:
                    raise ValueError(f"{prefix}{entry.name}: {rule} (what it is now is not shown here)")
                hint = nearest_choice(value, rule.split(" of ")[-1].removeprefix("may hold ").split(", "))
                raise ValueError(f"{prefix}{entry.name}: {rule}, but it is {value!r}{hint}")


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
