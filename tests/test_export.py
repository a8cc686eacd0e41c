"""scripts/export_model.py: what it writes is an ordinary model that says what the checkpoint says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_loop import small_recipe
from transformers import AutoTokenizer

from iterft import Iterator
from iterft.models import load_base, load_for_sampling
from iterft.tokens import render_prompt

SCRIPT = Path(__file__).parent.parent / "scripts" / "export_model.py"
IDS = torch.arange(3, 40)[None]


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_an_exported_model_loads_without_us_and_agrees_with_its_checkpoint(tmp_path: Path, quantization: str) -> None:
    recipe = small_recipe("iters=0", f"model.quantization={quantization}")
    iterator = Iterator(recipe, tmp_path / "run", quiet=True)
    run = iterator.run()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(run.folder), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "merged" in done.stdout) == (0, True), done.stderr
    assert "its chat template shows tools as it has learnt them, calls in the pythonic dialect" in done.stdout
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    for sample in iterator.held_out:
        messages, tools = list(sample.prompt.messages), list(sample.prompt.tools)
        ids = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, return_dict=False)
        assert tuple(ids) == render_prompt(iterator.template, sample.prompt)
    exported = load_base(str(tmp_path / "out"), torch.float32)
    assert exported.generation_config.eos_token_id[0] == tokenizer.eos_token_id, (
        "whoever serves it stops where turns end"
    )
    assert {type(module).__name__ for module in exported.modules()}.isdisjoint({"Linear4bit", "lora.Linear"})
    with torch.no_grad():
        logits = exported.eval()(IDS).logits
        expected = load_for_sampling(iterator.base, run.checkpoint, small_recipe().model).eval()(IDS).logits
        start = load_base(iterator.base, torch.float32).eval()(IDS).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert (logits - start).abs().max() > 1e-3
