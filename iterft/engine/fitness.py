"""Whether a model can share prefixes: what its config says, and one small comparison with its own forward.

Sharing asks two things of a model: a token's position is its depth in the trie, and each layer attends to all tokens
before it through the attention function it is given. Windows, recurrences, sinks, capped scores or logits, positions
that depend on the length, biases by distance: all of these break one or the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from iterft.engine.decoding import Fork, decode_all
from iterft.engine.generate import PrefixDecoder
from iterft.engine.head import TokenScores
from iterft.engine.own_attention import attending
from iterft.engine.plain import plain_log_probs
from iterft.engine.prefix_tree import Counters, score_sequences

Result = TypeVar("Result")

TOLERANCE = 1e-3
"""Difference of the log-probs of tokens (root mean square) that counts as none in float32."""
TIMES_ROUNDING, LEAST_ROUNDING = 4.0, 0.005
"""In bfloat16: so many times what rounding makes, which is at least this; 0.1 for SmolLM2-135M, 0.004 for tiny models.
What sharing makes was 0.6 to 1.4 times as much."""
MOST = 0.25
"""No model is fit above this, however it rounds."""

LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")

SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
CAPS = ("final_logit_softcapping", "attn_logit_softcapping")
DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
UNFIT = (AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)

TRUNK = 24
BRANCH = 6
WIDEST_WINDOW = 4096
"""A window that the config sets, and says is not used, is looked beyond if it is not wider than this."""


def shares_prefixes(model: Any, say: Callable[[str], None]) -> bool:
    """Whether prefixes of this causal LM (not a PEFT wrapper of one) can be shared. If not, says why."""
    if fault := why_not_shared(model):
        say(f"prefixes are not shared, each row is computed whole: {fault}")
    return not fault


@torch.no_grad()
def why_not_shared(model: Any) -> str:
    """Why the prefixes of this causal LM cannot be shared; "" when they can."""
    if fault := config_fault(model.config.get_text_config()):
        return fault
    gap, error = tried(model, typical_gap)
    if gap is None:
        return f"its layers do not run under another attention ({error})"
    if not gap <= (limit := tolerance(model)):
        return f"log-probs differ by {gap:.2g} nats from those of its own forward, more than {limit:.2g}"
    return ""


def config_fault(config: Any) -> str:
    """What the config itself says against sharing. A comparison would miss a window longer than its rows."""
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "attention"}
    if kinds:
        return f"it has layers of {', '.join(sorted(kinds))}"
    window = getattr(config, "sliding_window", None)
    if window and not getattr(config, "layer_types", None) and getattr(config, "use_sliding_window", True):
        return f"its layers see {window} tokens back, not all"
    for key in SCALES:
        if getattr(config, key, None) not in (None, 1):
            return f"its logits are scaled ({key})"
    for key in CAPS:
        if getattr(config, key, None):
            return f"its logits or scores are capped ({key})"
    for key in DROPOUTS:
        if getattr(config, key, None):
            return f"its attention has dropout ({key}; 0 in its config switches it off)"
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kind = rope.get("rope_type", rope.get("type"))
    if kind in LENGTH_DEPENDENT_ROPE:
        return f"its positions depend on the length of the row ({kind} RoPE)"
    return ""


def trunk_and_branches(model: Any, trunk_length: int) -> tuple[list[int], list[list[int]]]:
    """Random ids, the same each time."""
    generator = torch.Generator().manual_seed(0)
    size = model.get_input_embeddings().num_embeddings
    trunk, *branches = (
        torch.randint(size, (length,), generator=generator).tolist() for length in (trunk_length, BRANCH, BRANCH + 3, 1)
    )
    return trunk, branches


def backward_fault(model: Any) -> str:
    """Why a model that shares prefixes cannot learn so: some kernels of attention have no backward pass for all shapes.
    "" when it can. Leaves no gradients."""
    _, error = tried(model, backward)
    model.zero_grad()
    return f"it has no backward pass then ({error})" if error else ""


@torch.enable_grad()
def backward(model: Any) -> None:
    """A backward pass of the log-probs of some tokens behind a shared beginning."""
    scores = scored_branches(model, TRUNK, Counters())
    torch.cat([score.log_probs for score in scores]).sum().backward()  # type: ignore[no-untyped-call]


def scored_branches(model: Any, trunk_length: int, counters: Counters) -> list[TokenScores]:
    """Scores of some tokens behind a shared beginning of that length."""
    trunk, branches = trunk_and_branches(model, trunk_length)
    sequences = [[*trunk, *branch] for branch in branches]
    wanted = [list(range(trunk_length, len(sequence))) for sequence in sequences]
    return score_sequences(model.base_model, model.get_output_embeddings(), sequences, wanted, counters)


def tried(model: Any, work: Callable[[Any], Result]) -> tuple[Result | None, str]:
    """What `work` returns for the model in evaluation, and "", or None and its error: whatever an unknown architecture
    raises means the same, its own forward is used."""
    was_training = model.training
    model.eval()
    try:
        return work(model), ""
    except torch.OutOfMemoryError:
        raise
    except UNFIT as error:
        first = (str(error).splitlines() or [""])[0]
        return None, f"{type(error).__name__}: {first}"
    finally:
        model.train(was_training)


def training_fault(config: Any) -> str:
    """What the config says against sharing in TRL's trainers, whatever holds for sampling and scoring."""
    if getattr(config, "router_aux_loss_coef", 0) and hasattr(config, "output_router_logits"):
        return "its experts are trained with a loss of their own (router_aux_loss_coef)"
    return ""


@torch.no_grad()
def typical_gap(model: Any) -> float:
    """Root mean square of the differences between log-probs under shared prefixes and under the model's own forward, of
    given and of sampled tokens behind a shared beginning, which is longer than the window if there is one."""
    window = getattr(model.config.get_text_config(), "sliding_window", None) or 0
    window = window if window <= WIDEST_WINDOW else 0
    trunk_length = TRUNK + 2 * window
    trunk, branches = trunk_and_branches(model, trunk_length)
    sequences = [[*trunk, *branch] for branch in branches]
    wanted = [list(range(trunk_length, len(sequence))) for sequence in sequences]
    shared = score_sequences(model.base_model, model.get_output_embeddings(), sequences, wanted, Counters())
    own_scores = plain_log_probs(model, sequences)
    gaps = [score.log_probs - own[trunk_length - 1 :] for score, own in zip(shared, own_scores, strict=True)]
    decoder = PrefixDecoder(model, stop_id=-1, cache_bytes=0, max_rows=4)
    forks = [Fork(tuple(trunk), (), 2, 0), Fork(tuple(trunk), tuple(branches[0]), 2, 1)]
    if is_autocast(model):  # so it learns, and never samples
        forks = []
    for fork, rows in zip(forks, decode_all(decoder.stream, forks, 1.0, 3), strict=True):
        start = len(fork.prompt) + len(fork.extra) - 1
        for row, own in zip(
            rows, plain_log_probs(model, [(*fork.prompt, *fork.extra, *row.ids) for row in rows]), strict=True
        ):
            gaps.append(torch.tensor(row.logprobs, device=own.device) - own[start:])
    return float(torch.cat(gaps).square().mean().sqrt())


@torch.no_grad()
def tolerance(model: Any) -> float:
    """The `typical_gap` up to which a model is fit. Where it computes in bfloat16, told by how far its own forward
    goes from itself with rows one by one and its scores rounded elsewhere, as transformers' plain attention does."""
    if next(model.parameters()).dtype == torch.float32 and not is_autocast(model):
        return TOLERANCE
    trunk, branches = trunk_and_branches(model, TRUNK)
    sequences = [[*trunk, *branch] for branch in branches]
    together = plain_log_probs(model, sequences)
    with attending(model.config, "eager"):
        alone = [plain_log_probs(model, [sequence])[0] for sequence in sequences]
    gaps = [(one - other)[TRUNK - 1 :] for one, other in zip(together, alone, strict=True)]
    rounding = max(LEAST_ROUNDING, float(torch.cat(gaps).square().mean().sqrt()))
    return min(TIMES_ROUNDING * rounding, MOST)


def is_autocast(model: Any) -> bool:
    return torch.is_autocast_enabled(next(model.parameters()).device.type)
