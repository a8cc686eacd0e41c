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
if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a core: two that wait for each other's are slower than one
    os.environ.setdefault("OMP_NUM_THREADS", "1")

CACHE = tempfile.TemporaryDirectory(prefix="iterft-tests-")
"""Lives as long as the session; removed when the interpreter ends. Workers use that of the process they are from."""
os.environ.setdefault("ITERFT_CACHE", CACHE.name)


@pytest.fixture(scope="session")
def base() -> str:
    """The folder of the tiny random model."""
    from updates import LORA, QUIET

    from iterft.models import resolve

    return resolve(LORA, QUIET)


@pytest.fixture(scope="session")
def smollm2() -> str:
    """The folder of the default recipe's base."""
    from iterft import Recipe
    from iterft.log import Log
    from iterft.models import resolve

    try:
        return resolve(Recipe.load("smollm2-135m").model, Log(quiet=True))
    except ValueError as error:
        pytest.skip(f"SmolLM2 cannot be had here: {error}")


@pytest.fixture(scope="session")
def tokenizer(base: str) -> Any:
    from iterft.models import load_tokenizer

    return load_tokenizer(base)


@pytest.fixture(scope="session")
def pairs(base: str) -> list[Any]:
    """Eight pairs of four trees, scored by the base; chosen sides of several lengths, none ends with a stop token."""
    from updates import scored_pairs

    draw = random.Random(0)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(draw.choices(range(3, 1900), k=length))

    prompts = [ids(length) for length in (20, 31, 9, 40)]
    rows = [
        (prompt, ids(draw.randint(1, 6)), ids(draw.randint(1, 9)), f"s{at % 4}")
        for at, prompt in enumerate(prompts * 2)
    ]
    return scored_pairs(base, rows)
