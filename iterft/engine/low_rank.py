"""A linear layer with a low-rank adapter as one operation: W x + s B A x without a temporary of the output's size.

PEFT's layer runs W x, A x, B (A x), a scaling and a sum, each a pass over memory, and as many backward. For small
hidden sizes on a CPU these passes cost as much as the products. `fuse_adapters` puts the one operation under PEFT's
layers, wherever it computes the same; saving, loading and switching adapters stay PEFT's.

Shapes: N tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from torch.nn.functional import linear


class LowRankProduct(torch.autograd.Function):
    """x [N, I], weight [O, I] (frozen), bias [O] or None (frozen), down [R, I], up [O, R] -> [N, O]."""

    @staticmethod
    def forward(
        ctx: Any,
        x_NI: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        low_NR = x_NI @ down.T
        ctx.save_for_backward(x_NI, weight, down, up, low_NR)
        ctx.scaling = scaling
        return linear(x_NI, weight, bias).addmm_(low_NR, up.T, alpha=scaling)

    @staticmethod
    def backward(ctx: Any, grad_NO: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_NI, weight, down, up, low_NR = ctx.saved_tensors
        grad_low_NR = (grad_NO @ up).mul_(ctx.scaling)
        grad_x = (grad_NO @ weight).addmm_(grad_low_NR, down) if ctx.needs_input_grad[0] else None
        grad_up = (grad_NO.T @ low_NR).mul_(ctx.scaling)
        return grad_x, None, None, grad_low_NR.T @ x_NI, grad_up, None


def fuse_adapters(model: Any) -> int:
    """Replaces the forward of every plain LoRA layer of a PEFT model; returns how many. A layer goes back to PEFT's
    forward whenever something is on that the one operation leaves out (dropout, merged or several adapters, ...)."""
    from peft.tuners.lora import Linear

    layers = [module for module in model.modules() if type(module) is Linear]
    for layer in layers:
        layer.forward = types.MethodType(fused_forward, layer)
    return len(layers)


def fused_forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """`peft.tuners.lora.Linear.forward`."""
    base = self.get_base_layer()
    names = self.active_adapters
    is_autocast = torch.is_autocast_enabled(x.device.type)
    if args or kwargs or is_autocast or not is_plain(self, names) or x.dtype != base.weight.dtype:
        result: torch.Tensor = type(self).forward(self, x, *args, **kwargs)
        return result
    dtype = base.weight.dtype
    down, up = self.lora_A[names[0]].weight.to(dtype), self.lora_B[names[0]].weight.to(dtype)
    flat = x.reshape(-1, x.shape[-1])
    product: Any = LowRankProduct.apply(flat, base.weight, base.bias, down, up, self.scaling[names[0]])  # type: ignore[no-untyped-call]
    shaped: torch.Tensor = product.view(*x.shape[:-1], -1)
    return shaped


def is_plain(layer: Any, names: list[str]) -> bool:
    """Whether the layer computes W x + s B A x and nothing else, W frozen. A and B may be kept in another dtype than W:
    the products are in that of W, as under autocast, and the steps of an optimizer still reach A and B unrounded."""
    if layer.merged or layer.disable_adapters or len(names) != 1 or names[0] not in layer.lora_A:
        return False
    name, base = names[0], layer.get_base_layer()
    dropout = layer.lora_dropout[name]
    return (
        type(base) is torch.nn.Linear
        and not base.weight.requires_grad
        and (isinstance(dropout, torch.nn.Identity) or dropout.p == 0 or not layer.training)
        and name not in layer.lora_variant
        and layer.lora_B[name].bias is None
        and base.weight.is_floating_point()
    )
