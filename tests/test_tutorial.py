"""docs/tutorial.md: its commands and its Python run as they stand there, on a tiny model and few samples."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from iterft import Recipe
from iterft.data import load_samples
from iterft.rollout import reference_calls
from iterft.toolsets.forms import load_toolset
from iterft.toolsets.python_file import load_module

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
TOOLS = ROOT / "docs" / "tutorial" / "workshop.py"
FEW = (
    "iters=1",
    "model.base=random:llama",
    "model.sha256=''",
    "model.dtype=float32",
    "data.num_held_out=4",
    "warmup.num_samples=8",
    "deficiency.num_candidates=4",
    "search.num_simulations=2",
    "policy.max_new_tokens=16",
)
SMALLER = {
    "scripts/synthesize.py": ["-n", "100"],
    "iterft.loop": [part for setting in FEW for part in ("--set", setting)],
    "iterft.ask": [],
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    """The words of each command, in order."""
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_it_begins_with_the_install_command_of_the_readme_and_uses_all_that_it_shows() -> None:
    install, *others = commands()
    assert " ".join(install) in (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(words[0] == ".venv/bin/python" for words in others)
    assert [words[2] if words[1] == "-m" else words[1] for words in others] == list(SMALLER)


@pytest.mark.slow
def test_every_command_runs_and_leads_to_the_next(tmp_path: Path) -> None:
    for name in ("docs", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    status = {}
    for words in commands()[1:]:
        program = words[2] if words[1] == "-m" else words[1]
        done = run(tmp_path, *words[1:], *SMALLER[program])
        assert "Traceback" not in done.stderr, done.stderr
        status[program] = done.returncode
    # A model that knows nothing may say what cannot be read.
    assert status.pop("iterft.ask") in (0, 1) and set(status.values()) == {0}
    record = json.loads((tmp_path / "runs" / "workshop" / "iter_000" / "done.json").read_text(encoding="utf-8"))
    assert 0 <= record["base"]["accuracy"] <= 1 and sum(total for _, total in record["by_kind"].values()) == 4
    (code,) = blocks("python")
    done = run(tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("->") >= 2


def test_its_recipe_is_a_recipe_and_leaves_the_iterations_samples_of_their_own() -> None:
    recipe = Recipe.load(TOOLS.with_suffix(".yaml"))
    (making,) = (words for words in commands() if "scripts/synthesize.py" in words)
    num_samples = int(making[making.index("-n") + 1])
    assert recipe.eval.base and recipe.model == Recipe.load().model
    assert recipe.warmup.num_samples + recipe.deficiency.num_candidates <= 0.8 * num_samples


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tutorial") / "train.jsonl"
    done = run(ROOT, "scripts/synthesize.py", "--tools", str(TOOLS), "--whole-list", "-n", "200", "--out", str(out))
    assert done.returncode == 0, done.stderr
    return out


def test_each_of_the_ten_functions_can_be_called_as_the_data_calls_it(data: Path) -> None:
    names = [definition.name for definition in load_toolset(TOOLS).definitions]
    assert len(names) == 10
    workshop = load_module(TOOLS)
    called: set[str] = set()
    for sample in load_samples(data, "FILE", 0.0).samples:
        for call in reference_calls(sample):
            getattr(workshop, call.name)(**call.arguments)
            called.add(call.name)
    assert called == set(names)


def test_the_workshop_keeps_what_it_is_told() -> None:
    workshop: Any = load_module(TOOLS)
    ticket = workshop.book_repair("Ana Costa", "cargo bike", "Friday")["ticket_id"]
    assert workshop.add_note(ticket, "squeaks") and workshop.find_repair(ticket)["note"] == "squeaks"
    assert [repair["customer"] for repair in workshop.list_repairs("Friday")] == ["Ana Costa"]
    assert workshop.cancel_repair(ticket) and not workshop.cancel_repair(ticket)
    assert workshop.find_repair(ticket) is None and not workshop.add_note(ticket, "gone")
    before = workshop.check_stock("bell")
    assert workshop.order_parts("bell", 3) == workshop.check_stock("bell") == before + 3
    assert workshop.estimate_price("tune-up", express=True) == 1.5 * workshop.estimate_price("tune-up")
