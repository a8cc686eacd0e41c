"""How a vLLM engine comes up: its arguments, its processes, and the log file that all of them print to.

Not here: the life of a running engine (`vllm_engine`).
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import torch

from iterft.config import VLLM_MAX_RANK, ModelSettings, PolicySettings
from iterft.models import context_of, device, dtype_of

RANKS = (8, 16, 32, 64, 128, 256, 320, VLLM_MAX_RANK)
"""Of adapters, as vLLM makes room for them."""

MAX_ADAPTERS = 2
"""In use at a time: the policy's and the grader's."""

MIN_LENGTH = 4096
"""Tokens a sequence may have in any case, if the model's context allows: prompts of other sources than the recipe's
data are as long as they are."""

ERROR_LINE = re.compile(r"^(?:\(.*?\) )?(?:ERROR .*?\] )?((?:\w+\.)*\w*(?:Error|Exception): .+)$", re.MULTILINE)
ECHOES = ("Engine core initialization failed", "WorkerProc initialization failed", "EngineCore encountered an issue")
"""What vLLM's processes say when another of them has failed."""


def start(options: dict[str, Any], log_file: Path) -> Any:
    """vLLM's engine with a core process of its own. ValueError with its last error when it does not start."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    with printing_to(log_file), interrupts_held():
        try:
            from vllm import EngineArgs, LLMEngine

            engine = LLMEngine.from_engine_args(EngineArgs(**options), enable_multiprocessing=True)
        except (RuntimeError, ValueError, ImportError) as error:
            cause = last_error(log_file) or one_line(str(error))
            raise ValueError(
                f"policy.kind vllm: the engine did not start ({cause}); see {log_file}, or set policy.kind=hf"
            ) from error
    logger = logging.getLogger("vllm")
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:] = [logging.FileHandler(log_file)]
    return engine


def engine_options(base: str, model: ModelSettings, settings: PolicySettings, max_length: int) -> dict[str, Any]:
    """Arguments of vLLM's engine, all but the model."""
    options: dict[str, Any] = {
        "skip_tokenizer_init": True,
        "dtype": str(dtype_of(model.dtype)).removeprefix("torch."),
        "max_model_len": max_length,
        "max_num_seqs": settings.max_rows,
        "enable_prefix_caching": True,
        "logprobs_mode": "raw_logprobs",  # before temperature
        "generation_config": "vllm",  # the model's own would cut the distribution and add stop tokens
        "disable_log_stats": True,
        "seed": 0,
    }
    if model.tuning == "lora":
        rank = min(rank for rank in RANKS if rank >= model.lora.r)
        options |= {
            "enable_lora": True,
            "max_lora_rank": rank,
            "max_loras": MAX_ADAPTERS,
            # Not the output layer, with which vLLM on CPUs cannot score the tokens of a prompt.
            "lora_target_modules": adapted_layers(base),
        }
    if device().type == "cuda":
        return options | {"gpu_memory_utilization": settings.gpu_memory_share, "enable_sleep_mode": True}
    return options | {
        "kv_cache_memory_bytes": int(settings.kv_cache_gib * 1024**3),
        "block_size": 32,  # only whole blocks are shared; the default on CPUs is 128
        "enforce_eager": True,  # with adapters vLLM compiles nothing on CPUs, without them it takes minutes
        # vLLM takes back the draw of a row whose prompt is only partly computed, which generators on CPUs cannot.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max_length,
    }


def adapted_layers(base: str) -> list[str]:
    """Names of the layers that `models.load_for_training` puts adapters on: all linear ones but the output layer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    head = model.get_output_embeddings()
    linear = [name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear) and layer is not head]
    return sorted({name.rpartition(".")[2] for name in linear})


def longest_sequence(base: str, needed: int) -> int:
    """Tokens of prompt and turn that the engine makes room for, never more than the base was made for."""
    context = context_of(base)
    return needed if context is None else min(max(needed, MIN_LENGTH), context)


def refuse_long(base: str, num_tokens: int, num_new: int, max_length: int) -> None:
    """ValueError for tokens, with so many new ones behind, that the engine has no room for."""
    if num_tokens + num_new <= max_length:
        return
    if max_length == context_of(base):
        takes = f"model.base {base} was made for {max_length}; lower data.max_prompt_tokens or policy.max_new_tokens"
    else:
        takes = f"the engine takes {max_length}; raise data.max_prompt_tokens"
    raise ValueError(
        f"policy.kind vllm: {num_tokens} tokens and room for {num_new} more are asked for, but {takes}, or set "
        "policy.kind=hf"
    )


@contextmanager
def printing_to(file: Path) -> Iterator[None]:
    """Whatever this process and the ones it starts print, native code included, goes to a new file. The latter keep
    it."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(number) for number in (1, 2)]
    with file.open("wb") as out:
        for number in (1, 2):
            os.dup2(out.fileno(), number)
    try:
        yield
    finally:
        for number, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, number)
            os.close(copy)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C waits; the processes that are started meanwhile never see one, so that whoever is interrupted can still
    tidy up with their help."""
    resource_tracker.ensure_running()  # multiprocessing lets interrupts through again when it starts this
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def last_error(log_file: Path) -> str:
    """The last line of a log that tells an error and does not only pass one on; "" without one."""
    lines = ERROR_LINE.findall(log_file.read_text(encoding="utf-8", errors="replace"))
    return one_line(next((line for line in reversed(lines) if not any(echo in line for echo in ECHOES)), ""))


def one_line(text: str) -> str:
    return " ".join(text.split())[:300]
