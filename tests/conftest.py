"""The tests reach no network and leave nothing behind: models are tiny, random and kept in a temporary folder."""

from __future__ import annotations

import os
import random
import tempfile
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

CACHE = tempfile.TemporaryDirectory(prefix="iterft-tests-")
"""Lives as long as the session; removed when the interpreter ends."""
os.environ.setdefault("ITERFT_CACHE", CACHE.name)


@pytest.fixture(scope="session")
def base() -> str:
    """The folder of the tiny random model."""
    from updates import LORA, QUIET

    from iterft.models import resolve

    return resolve(LORA, QUIET)


@pytest.fixture(scope="session")
def tokenizer(base: str) -> Any:
    from iterft.models import load_tokenizer

    return load_tokenizer(base)


@pytest.fixture(scope="session")
def pairs(base: str) -> list[Any]:
    """Eight pairs of four trees, scored by the base; chosen sides of several lengths, none ends with a stop token."""
    import torch

    from iterft.engine.generate import PrefixDecoder
    from iterft.models import load_base

    draw = random.Random(0)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(draw.choices(range(3, 1900), k=length))

    prompts = [ids(length) for length in (20, 31, 9, 40)]
    rows = [(at, prompt, ids(draw.randint(1, 6)), ids(draw.randint(1, 9))) for at, prompt in enumerate(prompts * 2)]
    decoder = PrefixDecoder(load_base(base, torch.float32), stop_id=2, cache_bytes=1 << 28, max_rows=64)
    chosen, rejected = (decoder.logprob([row[1] for row in rows], [row[side] for row in rows]) for side in (2, 3))
    from iterft.types import PreferencePair

    return [
        PreferencePair(prompt, good, bad, 1.0, "wrong_value", f"s{at % 4}", sum(good_scores), sum(bad_scores))
        for (at, prompt, good, bad), good_scores, bad_scores in zip(rows, chosen, rejected, strict=True)
    ]
