"""The training loop: accelerate for devices and processes, checkpoints that resume exactly, logs, codebook use."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import SafetensorError
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

from llmcodec.errors import ConfigError, first_line
from llmcodec.evaluation.provenance import write_text
from llmcodec.locks import sole_use
from llmcodec.models import locate
from llmcodec.teachers import AudioTeacher
from llmcodec.temporary import PATTERN
from llmcodec.training.adversary import Adversary
from llmcodec.training.balance import Balancer
from llmcodec.training.data import Batch, CropBatches, StepBatches
from llmcodec.training.decoder import DecoderTraining
from llmcodec.training.listening import ListeningLoss
from llmcodec.training.model import TrainingModel
from llmcodec.training.prepare import feature_cache, prepare, prepare_decoder
from llmcodec.training.recipe import Recipe
from llmcodec.training.recorder import Made, Recorder

# The losses that depend on the decoded waveform.
ON_WAVE = ("stft", "mel", "envelope", "loudness", "listening", "adversarial", "feature_matching")


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    cache_root: Path | None = None,
    max_minutes: float | None = None,
    quiet: bool = False,
) -> Path:
    """Train and return the folder of the finished codec, `out/codec`.

    data: a folder that `open_source` can read. Clips that cannot be read are named and left out.
    out: run folder; an interrupted run in it is continued from its last checkpoint, with the same batches.
    max_minutes: stop (resumable, codec exported) after so long.
    """
    accelerator = Accelerator(
        cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()),  # else CPU processes do not meet
        mixed_precision=recipe.optimiser.mixed_precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=bool(recipe.prelude.steps))],
    )
    if accelerator.device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True  # every step has the same shapes
    out.mkdir(parents=True, exist_ok=True)
    try:
        with sole_use(out) if accelerator.is_main_process else nullcontext():
            stream = torch.cuda.Stream() if accelerator.device.type == "cuda" else None
            with torch.cuda.stream(stream):  # graphs are not recorded on the default one
                return _train(recipe, data, out, cache_root or out / "cache", max_minutes, quiet, accelerator)
    finally:
        with suppress(OSError):  # it goes if nothing was made
            out.rmdir()


def _train(
    recipe: Recipe, data: Path, out: Path, cache_root: Path, max_minutes: float | None, quiet: bool,
    accelerator: Accelerator,
) -> Path:  # fmt: skip
    last = _last_checkpoint(out)
    _check_same_recipe(recipe, out, last)
    if accelerator.is_main_process:
        for cut_off in out.glob(PATTERN):  # by a kill
            shutil.rmtree(cut_off) if cut_off.is_dir() else cut_off.unlink()
    with accelerator.main_process_first(), _progress("clips", quiet or not accelerator.is_main_process) as bar:
        task = bar.add_task("features", total=None)
        cache = feature_cache(
            recipe, data, cache_root,
            lambda done, total: bar.update(task, completed=done, total=total), bar.console.print,
        )  # fmt: skip
        bar.update(task, completed=len(cache.clips), total=len(cache.clips))
    set_seed(recipe.seed)
    plain = prepare_decoder(recipe) if recipe.learns == "decoder" else prepare(recipe, cache)
    write_text(out / "recipe.json", recipe.model_dump_json(indent=2))
    run = Run(recipe, plain, accelerator)
    crops = CropBatches(
        cache, recipe.data, plain.codec.config, recipe.seed, accelerator.process_index, accelerator.num_processes
    )

    step, end = 0, recipe.prelude.steps + recipe.optimiser.steps
    if last:
        step = _restore(accelerator, last)
    log = SummaryWriter(str(out / "logs"), purge_step=step) if accelerator.is_main_process else None
    meter, started = Meter([len(vocabulary) for vocabulary in plain.codec.vocabularies]), time.monotonic()
    with _progress("steps", quiet or not accelerator.is_main_process) as bar:
        task = bar.add_task("training", total=end, completed=step)
        ahead, told = StepBatches(crops, recipe).from_step(step, accelerator.device), started
        while step < end and not (max_minutes and time.monotonic() - started > 60 * max_minutes):
            meter.add(*train_step(run, next(ahead), step))
            step += 1
            bar.update(task, completed=step)
            if time.monotonic() > told + 1:  # reading the loss waits for the device
                bar.update(task, description=meter.line())
                told = time.monotonic()
            if step % recipe.log_every == 0:
                values = _over_processes(meter.take(), accelerator)
                if log:
                    for name, value in values.items():
                        log.add_scalar(name, value, step)
                    log.add_scalar("learning_rate", run.schedule.get_last_lr()[0], step)
                    log.flush()
            if step % recipe.checkpoint_every == 0:
                _checkpoint(run, out, step)
    _checkpoint(run, out, step)
    if log:
        log.close()
    return out / "codec"


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

    @property
    def exported(self) -> TrainingModel | DecoderTraining:
        """The model whose codec is exported."""
        return self.mean.module if self.mean else self.plain  # type: ignore[return-value]


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
            found["discriminator"] = adversary.learn(batch.wave, wave)
        return found, codes, wave

    def judge() -> dict[str, torch.Tensor]:
        losses = dict(found)
        if adversary and wave is not None:
            losses |= adversary.losses(batch.wave, wave)
        if run.listening and phase.listening and wave is not None:
            losses["listening"] = run.listening(batch.wave, wave)
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


class Meter:
    """Means of the losses, and codebook use: different words, and entropy in bits, per layer, since the last `take`."""

    def __init__(self, sizes: list[int]) -> None:
        self.counts = [torch.zeros(size, dtype=torch.long) for size in sizes]
        self.sums: dict[str, torch.Tensor] = {}
        self.steps = 0

    def add(self, found: dict[str, torch.Tensor], used: list[torch.Tensor]) -> None:
        self.steps += 1
        for name, value in found.items():
            self.sums[name] = self.sums.get(name, 0) + value.double()
        for number, codes in enumerate(used):  # the prelude uses the first layer alone
            count = self.counts[number] = self.counts[number].to(codes.device)
            count.index_add_(0, codes, torch.ones_like(codes))

    def line(self) -> str:
        return f"training (loss {float(self.sums['total']) / self.steps:.3f})" if self.steps else "training"

    def take(self) -> dict[str, float]:
        values = {f"loss/{name}": float(total) / self.steps for name, total in self.sums.items()}
        for number, count in enumerate(self.counts):
            if not count.any():
                continue
            p = count[count > 0] / count.sum()
            values[f"use/words_{number}"] = float((count > 0).sum())
            values[f"use/bits_{number}"] = float(-(p * p.log2()).sum())
            count.zero_()
        self.sums.clear()
        self.steps = 0
        return values


def _over_processes(values: dict[str, float], accelerator: Accelerator) -> dict[str, float]:
    """Means over all processes."""
    means = accelerator.reduce(torch.tensor(list(values.values()), device=accelerator.device), "mean")
    return dict(zip(values, means.tolist(), strict=True))


def _restore(accelerator: Accelerator, last: Path) -> int:
    """Go back to a checkpoint; its step. ConfigError when it is damaged."""
    try:
        accelerator.load_state(str(last), load_kwargs={"weights_only": True})
        return int(json.loads((last / "step.json").read_text())["step"])
    except Exception as error:  # what accelerate and torch raise for a damaged file is of many kinds
        raise ConfigError(
            f"{last}: no checkpoint that can be read ({first_line(error)}); without it the run begins anew"
        ) from error


def _checkpoint(run: Run, out: Path, step: int) -> None:
    """Everything a resume needs in `last`, the codec in `codec`; at any moment `last` or `last.old` is whole.

    ConfigError when it cannot be written.
    """
    try:
        _save(run, out, step)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch's writer: RuntimeError
        shutil.rmtree(out / "last.new", ignore_errors=True)
        raise ConfigError(f"{out}: the checkpoint of step {step} cannot be written ({first_line(error)})") from error


def _save(run: Run, out: Path, step: int) -> None:
    fresh, accelerator = out / "last.new", run.accelerator
    if accelerator.is_main_process:
        shutil.rmtree(fresh, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(fresh))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (fresh / "step.json").write_text(json.dumps({"step": step}))
        run.exported.store_tables()
        run.exported.codec.save_checkpoint(out / "codec")
        old = out / "last.old"
        shutil.rmtree(old, ignore_errors=True)
        if (out / "last").is_dir():
            os.replace(out / "last", old)
        os.replace(fresh, out / "last")
        shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def _last_checkpoint(out: Path) -> Path | None:
    return next((folder for folder in (out / "last", out / "last.old") if folder.is_dir()), None)


def _check_same_recipe(recipe: Recipe, out: Path, last: Path | None) -> None:
    """A run that has begun goes on under its own recipe or not at all."""
    kept = out / "recipe.json"
    if last and kept.is_file() and kept.read_text(encoding="utf-8") != recipe.model_dump_json(indent=2):
        raise ConfigError(f"{out} holds a run of another recipe; choose another folder or remove it")


def _progress(what: str, quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(what),
        TimeElapsedColumn(), TimeRemainingColumn(), disable=quiet, console=Console(stderr=True),
    )  # fmt: skip
