"""Loss balancing (Defossez et al. 2022, section 3.4): a weight is the share of the gradient that a loss has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Balancer:
    """Makes one loss of several that all depend on the same waveform.

    Each loss's gradient at the waveform is divided by a running mean of its norm; their sum, weighted, has about norm
    `total`, whatever the scales of the losses.
    """

    def __init__(self, total: float, decay: float = 0.99) -> None:
        self.total, self.decay = total, decay
        self.norms: dict[str, Tensor] = {}

    def __call__(self, losses: dict[str, Tensor], weights: dict[str, float], wave: Tensor) -> Tensor:
        """Losses by name (scalars) and their weights -> a scalar whose gradient at `wave` is the balanced one."""
        share = sum(weights.values())
        mixed = torch.zeros_like(wave)
        for name, loss in losses.items():
            (gradient,) = torch.autograd.grad(loss, wave, retain_graph=True)
            norm = gradient.norm()  # it stays on its device, which need not be waited for
            mean = self.norms[name] = self.norms.get(name, norm).to(norm.device)
            mean.lerp_(norm, 1 - self.decay)
            mixed += gradient * (weights[name] / share * self.total / mean.clamp(min=1e-12))
        return (wave * mixed.detach()).sum()

    def state_dict(self) -> dict[str, Any]:
        return {"norms": {name: norm.clone() for name, norm in self.norms.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.norms = dict(state["norms"])
