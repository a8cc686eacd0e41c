"""Is one argument value accepted?

For items of BFCL by the value rules of its Python AST checker, decision for decision (`as_bfcl`). Some are odd:

- strings are compared without case, blanks and the punctuation `,./-_*^`, single quotes equal to double ones;
- an int may stand for a number, though not inside an array; never a number for an int; a boolean is no number;
- a value may also have the type of the first alternative; it is then compared plainly, without the string rule;
- objects hold alternatives one level deep; anything deeper is compared plainly;
- an empty list, where "" (leaving the argument out) is accepted, counts as left out.

For all other data the rules are the same but for what would take one value for another:

- strings are compared without case, single quotes equal to double ones; blanks count between digits only (`5 12`);
  commas and full stops before a blank or the end do not count, other punctuation of the kind above only where a digit
  is next to it (`12*5`, `-5`, `1.5`, `2024-1-15`), where it is all there is, in a sign (`-x`), and in words that hold
  one of `@ / \ * ^` or a full stop between two parts (`x*y`, `/etc/hosts`, `john.smith@mail.com`, `notes.txt`; not
  `U.S.`);
- "" among other alternatives says that the argument may be left out, and is no value;
- an int may stand for a number inside an array too;
- a boolean never equals a number, wherever it stands.

Both vocabularies are read: JSON schema (object, number, array, ...) and BFCL's own (dict, float, tuple, any, ...).
Where a schema declares no single known type (no `type`, a list of types, `$ref`, `anyOf`) any type will do and the
value is compared by the rules of its own type; the official checker raises there. Not here: whole calls (`call_match`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

ValueFault = Literal["", "wrong_type", "wrong_value"]

_PYTHON_TYPES: Mapping[str, type] = {
    "string": str,
    "any": str,  # what BFCL means by it
    "integer": int,
    "number": float,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "object": dict,
    "dict": dict,
}
_STANDARD = str.maketrans({**dict.fromkeys(" ,./-_*^", None), "'": '"'})
_END_OF_WORDS = re.compile(r"[.,]+(?=\s|\Z)")
_BLANKS = re.compile(r"\s+")
_BLANK_BETWEEN_WORDS = re.compile(r"(?<!\d) | (?!\d)")
_WORD = re.compile(r"\S+")
_IN_EXACT_WORD = re.compile(r"[@/\\*^]|\w\w\.\w\w")
_SIGN = re.compile(r"(?<!\w)-(?=[^\W\d])")
_KEPT = str.maketrans({mark: chr(0xE000 + ord(mark)) for mark in ",./-_*^"})
_MARKS_WITHOUT_DIGITS = re.compile(r"(?<![\d,./\-_*^])[,./\-_*^]+(?![\d,./\-_*^])")

Form = Callable[[Any], Any]
"""What a value is compared by: values of one form are the same."""


def value_fault(value: Any, alternatives: Sequence[Any], schema: object, *, as_bfcl: bool = False) -> ValueFault:
    """ "" if `value` is among the accepted `alternatives` of an argument with this `schema`, else what is wrong."""
    form = _standard if as_bfcl else _folded
    declared = declared_type(schema)
    if declared is None:
        return "" if _accepted(value, alternatives, None, form) else "wrong_value"
    value = _converted(value, declared, schema)
    exemplar = _exemplar_type(alternatives)
    item_type = _item_type(schema) if declared is list else None
    if type(value) not in (declared, exemplar):
        return "wrong_type"
    if type(value) is declared and item_type is not None and not _items_fit(value, alternatives, item_type, form):
        return "wrong_type"
    if exemplar is not None and exemplar is not declared:
        if as_bfcl:
            is_right = value in alternatives
        elif isinstance(value, dict | list):
            is_right = _accepted(value, alternatives, None, form)
        else:
            is_right = _marked(value) in map(_marked, _values(alternatives, form))
    else:
        is_right = _accepted(value, alternatives, item_type, form)
    return "" if is_right else "wrong_value"


def is_writable(alternatives: Sequence[Any], schema: object) -> bool:
    """Whether some value of this argument is accepted, rather than only its absence."""
    if any(alternative != "" for alternative in alternatives):
        return True
    return bool(alternatives) and declared_type(schema) in (str, list, None)


def declared_type(schema: object) -> type | None:
    """The Python type that a parameter's schema asks for; None where it does not say one."""
    name = schema.get("type") if isinstance(schema, Mapping) else None
    return _PYTHON_TYPES.get(name) if isinstance(name, str) else None


def _converted(value: Any, declared: type, schema: object) -> Any:
    """`value` after the two conversions that BFCL grants: int to float, and a tuple where "tuple" is declared."""
    if declared is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return value
    if type(value) is tuple and isinstance(schema, Mapping) and schema["type"] == "tuple":
        return list(value)
    return value


def _item_type(schema: object) -> type | None:
    return declared_type(schema.get("items")) if isinstance(schema, Mapping) else None


def _exemplar_type(alternatives: Sequence[Any]) -> type | None:
    for alternative in alternatives:
        if alternative != "":
            return type(alternative)
    return None


def _items_fit(value: Any, alternatives: Sequence[Any], item_type: type, form: Form) -> bool:
    """Each item has this type, or that of the first item of one and the same alternative. Outside of BFCL an int may
    stand for a number, and an item have the type of any item of that alternative."""
    for alternative in alternatives:
        if type(alternative) is not list:
            return True
        allowed: set[type | None] = {item_type, _exemplar_type(alternative)}
        if form is not _standard:
            allowed |= {int if item_type is float else item_type, *map(type, alternative)}
        if all(type(item) in allowed for item in value):
            return True
    return False


def _accepted(value: Any, alternatives: Sequence[Any], item_type: type | None, form: Form) -> bool:
    """Membership by the rules of the value's own type."""
    if isinstance(value, dict):
        return any(_object_matches(value, other, form) for other in alternatives)
    if isinstance(value, list):
        return any(_list_matches(value, [] if other == "" else other, item_type, form) for other in alternatives)
    alternatives = _values(alternatives, form)
    return (type(value) is str and value in alternatives) or form(value) in map(form, alternatives)


def _values(alternatives: Sequence[Any], form: Form) -> Sequence[Any]:
    """Outside of BFCL without the "" that says that a value may be left out."""
    values = [] if form is _standard else [alternative for alternative in alternatives if alternative != ""]
    return values or alternatives


def _list_matches(value: list[Any], accepted: Any, item_type: type | None, form: Form) -> bool:
    """Equal length and order. Lists of objects hold alternatives in each object, other lists hold plain values."""
    if not isinstance(accepted, list) or len(value) != len(accepted):
        return False
    if item_type is dict:
        return all(_object_matches(item, other, form) for item, other in zip(value, accepted, strict=True))
    return all(
        form(item) == form(other)
        or ((item_type is None or form is not _standard) and _object_matches(item, other, form))
        for item, other in zip(value, accepted, strict=True)
    )


def _object_matches(value: Any, accepted: Any, form: Form) -> bool:
    """Each key is known and its value among that key's alternatives; a key left out has "" among them."""
    if not isinstance(value, dict) or not isinstance(accepted, Mapping):
        return False
    if form is not _standard and not all(isinstance(others, list) for others in accepted.values()):
        return False  # an object among values of other kinds, which is compared plainly
    for key, item in value.items():
        if key not in accepted or form(item) not in map(form, _values(accepted[key], form)):
            return False
    return all(key in value or "" in others for key, others in accepted.items())


def _standard(value: Any) -> Any:
    """A string without what BFCL overlooks; anything else as it is."""
    return value.translate(_STANDARD).lower() if type(value) is str else value


def _folded(value: Any) -> Any:
    """A string without what is overlooked outside of BFCL; anything else so that a boolean is no number."""
    return _folded_text(value) if type(value) is str else _marked(value)


def _marked(value: Any) -> Any:
    """The value with its booleans, also inside of lists and objects, equal to nothing but booleans."""
    if isinstance(value, list):
        return list(map(_marked, value))
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
    return (value,) if isinstance(value, bool) else value


@lru_cache(maxsize=4096)
def _folded_text(text: str) -> str:
    """As it is where nothing would be left."""
    words = _BLANKS.sub(" ", _END_OF_WORDS.sub("", text.lower().replace("'", '"')))
    words = _WORD.sub(_marks_kept, words)
    return _MARKS_WITHOUT_DIGITS.sub("", _BLANK_BETWEEN_WORDS.sub("", words.strip())) or text


def _marks_kept(word: re.Match[str]) -> str:
    """The word with those of its marks in `_KEPT` that count whatever stands beside them."""
    if _IN_EXACT_WORD.search(word[0]):
        return word[0].translate(_KEPT)
    return _SIGN.sub("-".translate(_KEPT), word[0])
