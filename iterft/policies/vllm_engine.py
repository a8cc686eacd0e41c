"""One vLLM engine for a whole run, in processes of its own: adapters come and go, it does not start again.

Requests in, outputs out, each to whoever asked for them; a dead or stalled engine is reported with its cause. All that
vLLM prints goes to a log file. Not here: what is asked for and how its outputs become completions (`vllm`).
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import signal
import time
import weakref
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import psutil
import torch

from iterft.config import ModelSettings, PolicySettings
from iterft.log import Log
from iterft.models import device
from iterft.policies.vllm_start import engine_options, last_error, longest_sequence, one_line, refuse_long, start
from iterft.protocols import PolicyFailure
from iterft.types import Checkpoint

Result = TypeVar("Result")
Call = tuple["Future[Any]", Callable[[], Any]]


class VllmEngine:
    """Holds the engine's processes until `close()`, garbage collection or exit."""

    def __init__(
        self,
        base: str,
        model: ModelSettings,
        settings: PolicySettings,
        max_prompt_tokens: int,
        log: Log,
        log_file: Path,
    ) -> None:
        """Starts the engine. `max_prompt_tokens`: of the prompts that turns and parts of turns follow. ValueError with
        the engine's own last error when it does not start."""
        self.base, self.tuning, self.settings, self.log, self.log_file = base, model.tuning, settings, log, log_file
        wanted = max_prompt_tokens + 2 * settings.max_new_tokens
        self.max_length = longest_sequence(base, wanted)
        self.is_capped = self.max_length < wanted  # by what the model was made for
        self.options = engine_options(base, model, settings, self.max_length)
        self.failure = ""
        self.pending: list[Any] = []
        self.num_requests = 0
        self.num_versions = 0
        self.num_users = 0
        log.say(f"starting vLLM (what it says: {log_file})")
        self.start(base)
        self.rest()

    def start(self, weights: str) -> None:
        """Brings the processes up, with the weights of that folder."""
        before = multiprocessing.active_children()
        self.weights = weights, last_change(weights)
        self.engine = start({**self.options, "model": weights}, self.log_file)
        self.cores = [process for process in multiprocessing.active_children() if process not in before]
        self.workers = [child for core in self.cores for child in psutil.Process(core.pid).children(recursive=True)]
        self.calls: SimpleQueue[Call | None] = SimpleQueue()
        Thread(target=answer, args=(self.calls,), daemon=True, name="vllm-calls").start()
        self.close = weakref.finalize(self, shut_down, self.engine, self.calls)

    @contextmanager
    def serving(self, checkpoint: Checkpoint) -> Iterator[Any]:
        """Awake with that checkpoint; yields what requests have to name: a `LoRARequest`, None for plain weights. The
        last one to leave puts the engine to rest."""
        if self.num_users == 0:
            self.wake()
        self.num_users += 1
        adapter = None
        try:
            adapter = self.load(checkpoint)
            yield adapter
        finally:
            self.num_users -= 1
            if not self.failure:
                if adapter is not None:
                    self.ask("drop an adapter", lambda: self.engine.remove_lora(adapter.lora_int_id))
                if self.num_users == 0:
                    self.rest()

    def load(self, checkpoint: Checkpoint) -> Any:
        """Brings a checkpoint's weights in. An adapter gets a name and number that none had before, by which vLLM keeps
        KV and weights of one version apart from those of another."""
        from vllm.lora.request import LoRARequest

        if self.tuning == "full":
            self.restart(str(checkpoint.path or self.base))
            return None
        if checkpoint.path is None:
            return None
        self.num_versions += 1
        adapter = LoRARequest(f"policy-v{self.num_versions}", self.num_versions, str(checkpoint.path))
        self.ask(f"load the adapter {checkpoint.path}", lambda: self.engine.add_lora(adapter))
        return adapter

    def restart(self, weights: str) -> None:
        """Starts anew where other weights are in: read in place by vLLM 0.32, those of a model whose output layer is
        its embedding come out wrong. ValueError while another checkpoint is in use."""
        if (weights, last_change(weights)) == self.weights:
            return
        if self.num_users > 1:
            raise ValueError(
                f"policy.kind vllm: with model.tuning=full it holds one checkpoint at a time, but {weights} is asked "
                f"for while {self.weights[0]} is in use; set policy.kind=hf"
            )
        self.log.say_once("vLLM starts anew for every checkpoint, as model.tuning is full")
        self.failure = "the vLLM engine did not start again"
        self.close()
        self.start(weights)
        self.failure = ""

    def wake(self) -> None:
        """Takes the accelerator back."""
        if device().type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            self.ask("wake up", self.engine.wake_up)

    def rest(self) -> None:
        """Leaves the accelerator to others. On CPUs vLLM has no such state, and its memory stays taken."""
        self.forget()
        if device().type == "cuda":
            self.ask("go to sleep", lambda: self.engine.sleep(level=1))
        else:
            self.log.say_once(
                f"vLLM on a CPU keeps weights and {self.settings.kv_cache_gib:g} GiB (policy.kv_cache_gib) of KV cache "
                "in memory during updates"
            )

    def add(self, ids: Sequence[int], params: Any, adapter: Any) -> str:
        """Hands a request in; its name. ValueError when it is longer than the engine can take."""
        refuse_long(self.base, len(ids), params.max_tokens, self.max_length)
        self.num_requests += 1
        name = str(self.num_requests)
        prompt = {"prompt_token_ids": list(ids)}
        self.ask("take a request", lambda: self.engine.add_request(name, prompt, params, lora_request=adapter))
        return name

    def outputs(self, names: Container[str]) -> list[Any]:
        """vLLM's outputs for these requests, one or more, as soon as there are some; those for others are kept."""
        while True:
            found = [output for output in self.pending if output.request_id in names]
            if found:
                self.pending = [output for output in self.pending if output.request_id not in names]
                return found
            for output in self.ask("go on", self.engine.step):
                reason = output.outputs[0].finish_reason
                if reason not in (None, "stop", "length"):
                    raise PolicyFailure(f"vLLM gave a request up by itself ({reason}); see {self.log_file}")
                self.pending.append(output)

    def drop(self, names: Sequence[str]) -> None:
        """Ends requests before their time."""
        if names and not self.failure:
            self.ask("drop requests", lambda: self.engine.abort_request(list(names)))
            self.pending = [output for output in self.pending if output.request_id not in names]

    def forget(self) -> None:
        """Drops all KV."""
        self.ask("drop its KV", self.engine.reset_prefix_cache)

    def ask(self, what: str, call: Callable[[], Result]) -> Result:
        """What `call` returns. PolicyFailure with the cause when the engine dies, refuses, or says nothing for
        `policy.stall_seconds`: vLLM itself would wait for ever."""
        from vllm.v1.engine.exceptions import EngineDeadError

        if self.failure:
            raise PolicyFailure(self.failure)
        future: Future[Result] = Future()
        self.calls.put((future, call))
        quiet_since, computed = time.monotonic(), -math.inf
        while wait([future], timeout=1.0).not_done:
            if not all(core.is_alive() for core in self.cores):
                self.fail(self.death())
            now, total = time.monotonic(), self.seconds_computed()
            if total - computed > 0.05 * (now - quiet_since):  # waiting alone costs 0.02
                quiet_since, computed = now, total
            if now - quiet_since > self.settings.stall_seconds:
                self.fail(
                    f"has stalled: no answer for {self.settings.stall_seconds:g} s (policy.stall_seconds; raise it if "
                    "the machine is only slow)"
                )
        error = future.exception()
        if isinstance(error, EngineDeadError):
            self.fail(self.death())
        if isinstance(error, ValueError):
            raise error
        if error is not None:
            raise PolicyFailure(f"vLLM could not {what}: {one_line(str(error))}") from error
        return future.result()

    def seconds_computed(self) -> float:
        """Processor time of the workers where they compute on processors: while it grows, a step is slow and no stall.
        Beside a GPU it grows in a stall too, as they wait by asking again and again."""
        if device().type != "cpu":
            return 0.0
        total = 0.0
        for worker in self.workers:
            with suppress(psutil.NoSuchProcess):
                used = worker.cpu_times()
                total += used.user + used.system
        return total

    def death(self) -> str:
        """How its process ended."""
        for core in self.cores:
            core.join(timeout=5.0)
        codes = [core.exitcode for core in self.cores if core.exitcode]
        if not codes:
            return "has died"
        if codes[0] > 0:
            return f"has died (exit code {codes[0]})"
        name = signal.Signals(-codes[0]).name
        hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
        return f"has died (killed by {name}{hint})"

    def fail(self, what: str) -> None:
        """Ends what is left of the engine and raises PolicyFailure."""
        cause = last_error(self.log_file)
        self.failure = (
            f"the vLLM engine {what}; its last error: {cause or 'it left none'}; see {self.log_file}. Free memory, or "
            "lower policy.kv_cache_gib (CPU), policy.gpu_memory_share (GPU) or policy.max_rows; the same command then "
            "goes on"
        )
        for core in self.cores:
            core.kill()
        for worker in self.workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        self.close()
        raise PolicyFailure(self.failure)


def last_change(weights: str) -> float:
    """When a folder's files were written last; 0 for what is no folder, and does not change."""
    folder = Path(weights)
    return max((file.stat().st_mtime for file in folder.iterdir()), default=0.0) if folder.is_dir() else 0.0


def answer(calls: SimpleQueue[Call | None]) -> None:
    """Makes the calls that come, in a thread that can be left behind when one never returns."""
    while (item := calls.get()) is not None:
        future, call = item
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        del item, future, call  # until the next one comes, they would keep alive what they refer to


def shut_down(engine: Any, calls: SimpleQueue[Call | None]) -> None:
    calls.put(None)
    engine.engine_core.shutdown(timeout=1.0)  # there is nothing to finish
