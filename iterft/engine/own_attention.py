"""Running a transformers backbone with an attention function of ours, which receives what it needs as a keyword."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from transformers import AttentionInterface

NOT_DONE = ("softcap", "s_aux", "sliding_window")
"""Keywords with which layers ask for capped scores, sinks and windows."""


def forward_with(
    attention: Callable[..., tuple[torch.Tensor, None]],
    backbone: Any,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    cache: Any = None,
    **shared: Any,
) -> torch.Tensor:
    """Last hidden states [rows, tokens, D] with `attention` in every layer; `shared` reaches it unchanged. An empty
    transformers `cache` is filled with keys and values. The model's own attention is back afterwards.
    NotImplementedError for layers that want more of an attention than ours does, or do not ask for it."""
    num_calls = 0
    marker = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=input_ids.device)  # 4-D: left as it is

    def asked(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, None]:
        nonlocal num_calls
        num_calls += 1
        if not is_marker(attention_mask):
            raise NotImplementedError("its attention wants a mask of its own")
        for wish in NOT_DONE:
            if kwargs.get(wish) is not None:
                raise NotImplementedError(f"its attention wants {wish}")
        return attention(module, query, key, value, attention_mask, **kwargs)

    name = f"iterft_{attention.__name__}"
    AttentionInterface.register(name, asked)
    with attending(backbone.config, name):
        hidden: torch.Tensor = backbone(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=marker,
            past_key_values=cache,
            use_cache=cache is not None,
            **shared,
        ).last_hidden_state
    if num_calls < (num_layers := backbone.config.get_text_config().num_hidden_layers):
        raise NotImplementedError(f"{num_layers - num_calls} of its {num_layers} layers attend in a way of their own")
    return hidden


def is_marker(mask: Any) -> bool:
    """Whether it is the mask that `forward_with` passes, or the copy of it that checkpointing makes."""
    return isinstance(mask, torch.Tensor) and mask.dtype == torch.bool and mask.shape == (1, 1, 1, 1)


def checkpoint_activations(model: Any) -> None:
    """Gradient checkpointing under which a layer is computed again with the attention it was computed with."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), attending(model.config, model.config._attn_implementation)

    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False, "context_fn": contexts})


@contextmanager
def attending(config: Any, name: str) -> Iterator[None]:
    """The registered attention of that name in every layer."""
    own = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = own
