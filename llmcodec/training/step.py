"""One step of training: what it changes, and how."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from llmcodec.models import locate
from llmcodec.teachers import AudioTeacher
from llmcodec.training.adversary import Adversary
from llmcodec.training.balance import Balancer
from llmcodec.training.data import Batch
from llmcodec.training.decoder import DecoderTraining
from llmcodec.training.listening import ListeningLoss
from llmcodec.training.model import TrainingModel
from llmcodec.training.recipe import Recipe
from llmcodec.training.recorder import Made, Recorder

# The losses that depend on the decoded waveform.
ON_WAVE = ("stft", "mel", "envelope", "loudness", "listening", "adversarial", "feature_matching")


@dataclass(frozen=True)
class Phase:
    """What a step asks for."""

    prelude: bool
    adversarial: bool
    listening: bool


class Run:
    """What a step changes: the model, its running mean, the discriminators, and their optimisers."""

    def __init__(self, recipe: Recipe, plain: TrainingModel | DecoderTraining, accelerator: Accelerator) -> None:
        settings = recipe.optimiser
        self.recipe, self.plain, self.accelerator = recipe, plain, accelerator
        parameters = [parameter for parameter in plain.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(
            parameters, lr=settings.learning_rate, betas=(0.8, 0.99), weight_decay=settings.weight_decay,
            fused=accelerator.device.type == "cuda",
        )  # fmt: skip
        self.schedule = LambdaLR(optimiser, lambda step: learning_rate_factor(step, recipe))
        self.model: Any
        self.model, self.optimiser = accelerator.prepare(plain, optimiser)
        self.adversary = Adversary(recipe.adversarial, settings, accelerator) if recipe.adversarial else None
        self.listening = None
        if recipe.losses.listening:
            self.listening = ListeningLoss(AudioTeacher(locate(recipe.teachers.audio), recipe.teachers.listening_layer))
        self.balancer = Balancer(recipe.losses.balance)
        self.mean = AveragedModel(plain, multi_avg_fn=get_ema_multi_avg_fn(settings.ema)) if settings.ema else None
        self.recorder = Recorder() if self._always_the_same() else None
        accelerator.register_for_checkpointing(self.schedule, self.balancer, *([self.mean] if self.mean else []))

    def _always_the_same(self) -> bool:
        """Whether every step of a phase is the same work, on a GPU that can play it back."""
        alone = self.accelerator.num_processes == self.recipe.optimiser.accumulate == 1
        return alone and self.accelerator.device.type == "cuda" and isinstance(self.plain, DecoderTraining)

    def phase(self, step: int) -> Phase:
        main = step - self.recipe.prelude.steps
        return Phase(
            prelude=main < 0,
            adversarial=self.adversary is not None and main >= self.adversary.settings.start,
            listening=self.listening is not None and main >= self.recipe.losses.listening_start,
        )

    def part(self, name: str, part: Callable[[], Made]) -> Made:
        """What a part of a step makes, recorded where it can be."""
        return self.recorder(name, part) if self.recorder else part()

    def to_export(self) -> TrainingModel | DecoderTraining:
        """The model whose codec is exported. What does not learn is what it was, to the bit: means make 0 of -0."""
        if self.mean is None:
            return self.plain
        averaged: TrainingModel | DecoderTraining = self.mean.module  # type: ignore[assignment]
        with torch.no_grad():
            for mine, theirs in zip(averaged.parameters(), self.plain.parameters(), strict=True):
                if not theirs.requires_grad:
                    mine.copy_(theirs)
        return averaged


def train_step(run: Run, batches: list[Batch], step: int) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """One update. Returns the losses (with their weighted `total`) and the codes used per layer, of all batches."""
    recipe, accelerator, phase = run.recipe, run.accelerator, run.phase(step)
    if isinstance(run.plain, TrainingModel) and step >= recipe.prelude.steps > 0 and not run.plain.words_held:
        run.plain.hold_words()
    run.model.train()
    sums: dict[str, torch.Tensor] = {}
    used: list[list[torch.Tensor]] = []
    for number, batch in enumerate(batches):
        with accelerator.no_sync(run.model) if number + 1 < len(batches) else nullcontext():
            found, codes = _gradients(run, batch, phase, number, len(batches))
        for name, value in found.items():
            sums[name] = sums.get(name, 0) + value / len(batches)
        used.append(codes)
    accelerator.clip_grad_norm_(run.plain.parameters(), recipe.optimiser.clip_norm)
    run.optimiser.step()
    run.schedule.step()
    if run.mean:
        run.mean.update_parameters(run.plain)
    return sums, [torch.cat(parts) for parts in zip(*used, strict=True)]


def _gradients(
    run: Run, batch: Batch, phase: Phase, number: int, count: int
) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """Batch `number` of the `count` of a step: its losses and codes, and its part of the model's gradient. The
    discriminators are updated in between."""
    accelerator, adversary = run.accelerator, run.adversary if phase.adversarial else None
    if run.recorder:
        batch = run.recorder.hold(batch)

    def make() -> tuple[dict[str, torch.Tensor], list[torch.Tensor], torch.Tensor | None]:
        with accelerator.autocast():
            found, codes, wave = run.model(batch, phase.prelude)
        if adversary and wave is not None:
            found["discriminator"] = adversary.learn(batch.target, wave)
        return found, codes, wave

    def judge() -> dict[str, torch.Tensor]:
        losses = dict(found)
        if adversary and wave is not None:
            losses |= adversary.losses(batch.target, wave)
        if run.listening and phase.listening and wave is not None:
            losses["listening"] = run.listening(batch.target, wave)
        losses["total"] = _total(losses, wave, run)
        if not number:
            run.optimiser.zero_grad()
        accelerator.backward(losses["total"] / count)
        return {name: loss.detach() for name, loss in losses.items()}

    found, codes, wave = run.part(f"make {phase}", make)
    if adversary and wave is not None:
        adversary.step()
    return run.part(f"judge {phase}", judge), codes


def _total(found: dict[str, torch.Tensor], wave: torch.Tensor | None, run: Run) -> torch.Tensor:
    """The weighted sum of the losses; those on the waveform balanced, if the recipe says so."""
    weights = run.recipe.losses
    plain = {name: value for name, value in found.items() if name != "discriminator"}
    total = torch.zeros((), device=next(iter(plain.values())).device)
    if weights.balance and wave is not None:
        on_wave = {name: plain.pop(name) for name in ON_WAVE if name in plain and getattr(weights, name)}
        total = run.balancer(on_wave, {name: getattr(weights, name) for name in on_wave}, wave)
    return sum((getattr(weights, name) * value for name, value in plain.items()), total)


def learning_rate_factor(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then half a cosine down to `final_fraction`; in the prelude, and once more after it."""
    optimiser, steps = recipe.optimiser, recipe.prelude.steps
    if step >= steps:
        step, steps = step - steps, optimiser.steps
    if step < optimiser.warmup_steps:
        return (step + 1) / optimiser.warmup_steps
    done = min(1.0, (step - optimiser.warmup_steps) / max(1, steps - optimiser.warmup_steps))
    return optimiser.final_fraction + (1 - optimiser.final_fraction) * 0.5 * (1 + math.cos(math.pi * done))
