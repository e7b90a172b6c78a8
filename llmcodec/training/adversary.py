"""The opponent of adversarial training: discriminators with their own optimiser."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from llmcodec.training.discriminators import Discriminators, adversarial_loss, discriminator_loss, feature_loss
from llmcodec.training.recipe import Adversarial, Optimiser

QUIET = 1e-3  # root mean square below which a sound is not made louder for the discriminators


class Adversary:
    """Judges what the codec makes, and learns to. It hears all sounds at one level, so that quiet ones teach it too."""

    def __init__(self, settings: Adversarial, optimiser: Optimiser, accelerator: Accelerator) -> None:
        self.settings, self.accelerator, self.clip_norm = settings, accelerator, optimiser.clip_norm
        plain = Discriminators(settings.stft_sizes, settings.periods, settings.width)
        steps = torch.optim.AdamW(
            plain.parameters(), lr=settings.learning_rate, betas=(0.8, 0.99), fused=accelerator.device.type == "cuda"
        )
        self.judge: Any
        self.judge, self.optimiser = accelerator.prepare(plain, steps)

    def learn(self, real: Tensor, made: Tensor) -> Tensor:
        """The gradient of one update, on waveforms [B, T]; returns its loss."""
        level = _level(real)
        loss = discriminator_loss(self.judge(torch.cat([real / level, made.detach() / level])), self.settings.kind)
        self.optimiser.zero_grad()
        self.accelerator.backward(loss)
        return loss.detach()

    def step(self) -> None:
        """The update that was learned."""
        self.accelerator.clip_grad_norm_(self.judge.parameters(), self.clip_norm)
        self.optimiser.step()

    def losses(self, real: Tensor, made: Tensor) -> dict[str, Tensor]:
        """What the codec is to lower, differentiable in `made` and not in the discriminators."""
        judge = self.accelerator.unwrap_model(self.judge).requires_grad_(False)
        level = _level(real)
        with torch.no_grad():
            wanted = judge(real / level)
        found = judge(made / level)
        judge.requires_grad_(True)
        matching = feature_loss(wanted, found)
        return {"adversarial": adversarial_loss(found, self.settings.kind), "feature_matching": matching}


def _level(wave: Tensor) -> Tensor:
    """Root mean square of waveforms [B, T] -> [B, 1]; of silence a little."""
    return wave.square().mean(-1, keepdim=True).sqrt().clamp(min=QUIET)
