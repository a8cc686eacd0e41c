"""The Berkeley function-calling leaderboard, single-turn categories in Python: its questions and its official checker.

Questions, answers and checker are those of the installed `bfcl-eval` (Apache-2.0); nothing is re-implemented, and
nothing here may ever be trained on. `evaluate_bfcl` gives one accuracy per category. None of its figures, and no mean
of them, is the benchmark's "Overall", "Non-live AST" or "Live" accuracy: those weigh categories, some of them not read
here (Java, JavaScript, relevance, multi-turn, agentic), in ways that differ between versions of the board.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from iterft.config import BFCL_CALLS, BFCL_IRRELEVANCE
from iterft.rollout import left_out_first
from iterft.types import BFCL, Message, Prompt, Sample, Tool, ToolCall, Turn

CATEGORIES = BFCL_CALLS + BFCL_IRRELEVANCE

INSTALL = "bfcl-eval is not installed; run: pip install --no-deps bfcl-eval==2026.3.23 && pip install mpmath"
_MODEL_CONFIG = "bfcl_eval.constants.model_config"
_JSON_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
_CHECKER_FAILURES = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError)


@dataclass(frozen=True)
class CategoryScore:
    """How many of a category's items were judged right by the official checker, and on how many a call was made, which
    is what abstaining lacks where one is due."""

    category: str
    num_correct: int
    num_items: int
    num_calling: int

    @property
    def accuracy(self) -> float:
        """Share of right items, 0 when there are none."""
        return self.num_correct / self.num_items if self.num_items else 0.0


def evaluate_bfcl(
    complete: Callable[[Sequence[Sample]], list[Turn]],
    categories: Sequence[str] = CATEGORIES,
    limit: int | None = None,
) -> dict[str, CategoryScore]:
    """Score by category. `complete` answers all samples of a category at once, one turn per sample, in their order.

    With `limit`, only the first so many items of each category are asked: a subset, and to be reported as one.
    """
    scores = {}
    for category in categories:
        samples = load(category, limit)
        turns = complete(samples)
        num_correct = sum(official(sample, turn) for sample, turn in zip(samples, turns, strict=True))
        num_calling = sum(bool(turn.calls) for turn in turns)
        scores[category] = CategoryScore(category, num_correct, len(samples), num_calling)
    return scores


def load(category: str, limit: int | None = None) -> list[Sample]:
    """The category's items in their published order.

    Tools are converted to JSON schema for the prompt. What may be left out is left out by the reference. `env_config`
    keeps what the official checker needs: "category" and "functions", the function documents as published.
    """
    if category not in CATEGORIES:
        raise ValueError(f"BFCL category {category!r} is not read here; choose from {', '.join(CATEGORIES)}")
    file = f"BFCL_v4_{category}.json"
    questions = _read(_data_folder() / file)
    answers: dict[str, list[Any]] = {}
    if category in BFCL_CALLS:
        answers = {row["id"]: row["ground_truth"] for row in _read(_data_folder() / "possible_answer" / file)}
    return [_sample(row, answers.get(row["id"], []), category) for row in islice(questions, limit)]


def official(sample: Sample, turn: Turn) -> bool:
    """The verdict of the official checker on one turn; an item on which it raises is invalid.

    Irrelevance is right if and only if no call parses, so a turn that cannot be parsed is right there.
    """
    category = sample.env_config["category"]
    if category in BFCL_IRRELEVANCE:
        return not turn.calls
    if turn.error:
        return False
    made = [{call.name: dict(call.arguments)} for call in turn.calls]
    accepted = [{entry.name: dict(entry.arguments)} for entry in sample.answer]
    checker, language = _checker()
    try:
        verdict = checker.ast_checker(sample.env_config["functions"], made, accepted, language, category, "any model")
    except _CHECKER_FAILURES:
        return False
    return bool(verdict["valid"])


def json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema in BFCL's vocabulary, recursively in that of JSON schema. The argument is left as it is."""
    converted = dict(schema)
    if schema.get("type") in _JSON_TYPES:
        converted["type"] = _JSON_TYPES[schema["type"]]
    if isinstance(schema.get("properties"), Mapping):
        converted["properties"] = {name: json_schema(inner) for name, inner in schema["properties"].items()}
    if isinstance(schema.get("items"), Mapping):
        converted["items"] = json_schema(schema["items"])
    return converted


def _sample(row: Mapping[str, Any], answer: Sequence[Mapping[str, Any]], category: str) -> Sample:
    functions: list[Mapping[str, Any]] = row["function"]
    messages: tuple[Message, ...] = tuple(row["question"][0])
    tools: tuple[Tool, ...] = tuple({**tool, "parameters": json_schema(tool["parameters"])} for tool in functions)
    return Sample(
        id=row["id"],
        prompt=Prompt(messages, tools),
        answer=tuple(_reference(name, arguments) for entry in answer for name, arguments in entry.items()),
        source=BFCL,
        kind=category,
        env_config={"category": category, "functions": functions},
    )


def _reference(name: str, arguments: Mapping[str, Sequence[Any]]) -> ToolCall:
    return ToolCall(name, {key: left_out_first(alternatives) for key, alternatives in arguments.items()})


def _read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _data_folder() -> Path:
    """Found without importing the package, whose import makes folders."""
    spec = importlib.util.find_spec("bfcl_eval")
    if spec is None or spec.origin is None:
        raise ValueError(INSTALL)
    return Path(spec.origin).parent / "data"


@cache
def _checker() -> tuple[ModuleType, Any]:
    """(the official checker's module, its constant for Python).

    It wants one boolean per model name from a table that imports every vendor's client; a stub stands in for the table
    during the import. Folders that the package makes on import go to a temporary place.
    """
    _data_folder()
    real = sys.modules.get(_MODEL_CONFIG)
    root = os.environ.get("BFCL_PROJECT_ROOT")
    sys.modules[_MODEL_CONFIG] = _model_config_stub()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BFCL_PROJECT_ROOT"] = folder
        try:
            checker = importlib.import_module("bfcl_eval.eval_checker.ast_eval.ast_checker")
            enums = importlib.import_module("bfcl_eval.constants.enums")
        finally:
            _restore(sys.modules, _MODEL_CONFIG, real)
            _restore(os.environ, "BFCL_PROJECT_ROOT", root)
    return checker, enums.Language.PYTHON


def _model_config_stub() -> ModuleType:
    class AnyModel(dict[str, SimpleNamespace]):
        def __missing__(self, name: str) -> SimpleNamespace:
            return SimpleNamespace(underscore_to_dot=False)

    stub = ModuleType(_MODEL_CONFIG)
    vars(stub)["MODEL_CONFIG_MAPPING"] = AnyModel()
    return stub


def _restore(table: Any, key: str, value: Any) -> None:
    if value is None:
        del table[key]
    else:
        table[key] = value
