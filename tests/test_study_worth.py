"""scripts/study_worth.py on a tiny model: it runs to its table, and goes on where it was."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from iterft.synth.rows import line_of, row_of
from iterft.synth.tasks import generate

SCRIPT = Path(__file__).parent.parent / "scripts" / "study_worth.py"
ARMS = ("rules", "real", "rules+real", "real-augmented")
needs_bfcl = pytest.mark.skipif(importlib.util.find_spec("bfcl_eval") is None, reason="bfcl-eval is not installed")


def study(out: Path, real: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--real", str(real), "--out", str(out), "--recipe", "debug"]
    command += ["--num", "10", "--evolve", "0", "--limit", "1", "--set", "policy.max_new_tokens=4", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("worth") / "real.jsonl"
    path.write_text("".join(line_of(row_of(sample)) for sample in generate(30, 5, "train")) + "{\n")
    return path


@pytest.mark.bfcl
@pytest.mark.slow
@needs_bfcl
def test_each_arm_learns_as_much_and_is_scored_once_and_a_lost_result_alone_is_made_again(
    real: Path, tmp_path: Path
) -> None:
    done = study(tmp_path, real, "--seeds", "3")
    assert done.returncode == 0, done.stderr
    table = done.stdout.splitlines()[-5:]
    assert [line.split()[0] for line in table] == ["arm", *ARMS]
    assert all(line.count("[") == 6 for line in table[1:])
    said = [line for line in done.stdout.splitlines() if line.endswith("learnt tokens")]
    learnt = [int(line.split()[-3].replace(",", "")) for line in said]
    assert len(learnt) == 4 and max(learnt) < min(learnt) + 200, "to the last sample, which is never cut"
    seed = tmp_path / "seed-3"
    sources = [json.loads(line)["source"] for line in (seed / "mixed.jsonl").read_text().splitlines()]
    assert sources == ["rules"] * 5 + ["builtin"] * 5
    results = {arm: seed / f"bfcl-{arm}.json" for arm in ARMS}
    before = {arm: file.stat().st_mtime_ns for arm, file in results.items()}
    results["real"].unlink()
    again = study(tmp_path, real, "--seeds", "3")
    assert again.stdout.splitlines()[-5:] == table
    assert [arm for arm, file in results.items() if file.stat().st_mtime_ns != before[arm]] == ["real"]
    other = study(tmp_path, real, "--seeds", "3", "--limit", "2")
    assert other.returncode == 2 and "holds results of {'categories'" in other.stderr, "not those of another limit"
    other = study(tmp_path, real, "--seeds", "3", "--num", "9")
    assert other.returncode == 2 and "options.json: holds results of" in other.stderr


@pytest.mark.slow
@pytest.mark.bfcl
@needs_bfcl
def test_too_few_real_rows_are_one_sentence_and_exit_code_2(real: Path, tmp_path: Path) -> None:
    done = study(tmp_path, real, "--seeds", "0", "--num", "31")
    assert done.returncode == 2
    assert "--num 31: only 31 rules samples and 30 rows" in done.stderr
