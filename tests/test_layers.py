"""The layer table of the house: a module imports only from rows above its own, or from its own folder."""

from __future__ import annotations

import ast
from pathlib import Path

import iterft

PACKAGE = Path(iterft.__file__).parent

LAYERS = """
types setting_rules ways_to_write journal jinja
protocols config surroundings chat log tool_list json_schema threads
recipe tiny template dialects
readers chat_template
sources completions toolsets
trouble
engine models tokens data endpoint
rollout policies envs rewards augment
negatives
search deficiency warmup local_chat
pairs stages evals synth
store
build report trackers
learner remarks
loop
ask
"""

ROW = {name: row for row, line in enumerate(LAYERS.strip().splitlines()) for name in line.split()}
PLUGINS = ("policies", "envs", "rewards", "dialects")


def modules() -> dict[str, Path]:
    """Dotted name below `iterft` -> file; the package itself, which imports lazily on request, is left out."""
    files = {path.relative_to(PACKAGE).with_suffix(""): path for path in PACKAGE.rglob("*.py")}
    return {
        ".".join(name.parts).removesuffix(".__init__"): path
        for name, path in files.items()
        if name.name != "__init__" or len(name.parts) > 1
    }


def imported(path: Path) -> set[str]:
    """What a file imports from iterft, wherever in the file: dotted names below `iterft`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    known = modules()
    return {
        name for name in (full.removeprefix("iterft.") for full in names if full.startswith("iterft.")) if name in known
    }


def test_every_module_has_its_row() -> None:
    assert {name.split(".")[0] for name in modules()} <= set(ROW)


def test_a_module_imports_only_from_rows_above_its_own_or_its_own_folder() -> None:
    wrong = []
    for name, path in modules().items():
        own = name.split(".")[0]
        for target in imported(path):
            top = target.split(".")[0]
            if top != own and ROW[top] >= ROW[own]:
                wrong.append(f"{name} imports {target}")
    assert wrong == []


def test_only_build_names_implementations() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, path in modules().items()
        for target in imported(path)
        if target.split(".")[0] in PLUGINS and target.split(".")[0] != name.split(".")[0] and name != "build"
        if not (target.startswith("dialects.") and name.startswith("readers."))  # a form is written in one dialect
    ]
    assert wrong == []


def test_readers_are_known_by_their_table_only() -> None:
    named = {
        target
        for name, path in modules().items()
        for target in imported(path)
        if target.startswith("readers.") and not name.startswith("readers")
    }
    assert named <= {"readers.forms", "readers.parts", "readers.schema"}


def test_forms_of_toolsets_are_known_by_their_table_only() -> None:
    named = {
        target
        for name, path in modules().items()
        for target in imported(path)
        if target.startswith("toolsets.") and not name.startswith("toolsets")
    }
    assert named <= {"toolsets.forms", "toolsets.parts"}


def test_the_engine_knows_nothing_of_tools() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, path in modules().items()
        for target in imported(path)
        if name.startswith("engine") and not target.startswith("engine")
    ]
    assert wrong == []


def test_the_check_sees_imports_inside_functions() -> None:
    assert "policies.hf" in imported(PACKAGE / "build.py")
    assert "evals.held_out" in imported(PACKAGE / "loop.py")
