"""The training loop: accelerate for devices and processes, checkpoints that resume exactly, logs, codebook use."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.tensorboard import SummaryWriter

from llmcodec.errors import ConfigError
from llmcodec.models import locate
from llmcodec.training.cache import FeatureCache, read_clips
from llmcodec.training.data import Batch, CropBatches
from llmcodec.training.model import TrainingModel
from llmcodec.training.prepare import prepare
from llmcodec.training.recipe import Recipe


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    cache_root: Path | None = None,
    max_minutes: float | None = None,
    quiet: bool = False,
) -> Path:
    """Train and return the folder of the finished codec, `out/codec`.

    data: audiofolder with metadata.csv (`file_name`, and where there `text`, `kind`).
    out: run folder; an interrupted run in it is continued from its last checkpoint, with the same batches.
    max_minutes: stop (resumable, codec exported) after so long.
    """
    last = _last_checkpoint(out)
    _check_same_recipe(recipe, out, last)
    accelerator = Accelerator(
        mixed_precision=recipe.optimiser.mixed_precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=bool(recipe.prelude.steps))],
    )
    with accelerator.main_process_first(), _progress("clips", quiet or not accelerator.is_main_process) as bar:
        task = bar.add_task("features", total=None)
        cache = FeatureCache.build(
            cache_root or out / "cache", data, read_clips(data, recipe.data.exclude),
            (locate(recipe.teachers.audio), recipe.teachers.audio_layer), locate(recipe.teachers.text),
            recipe.data.copies, recipe.seed, lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    set_seed(recipe.seed)
    plain = prepare(recipe, cache)
    crops = CropBatches(cache, recipe.data, plain.codec.config, recipe.seed, accelerator.process_index)
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").write_text(recipe.model_dump_json(indent=2), encoding="utf-8")
    optimiser = torch.optim.AdamW(
        [parameter for parameter in plain.parameters() if parameter.requires_grad],
        lr=recipe.optimiser.learning_rate, betas=(0.8, 0.99), weight_decay=recipe.optimiser.weight_decay,
    )  # fmt: skip
    schedule = LambdaLR(optimiser, lambda step: learning_rate_factor(step, recipe))
    model, optimiser = accelerator.prepare(plain, optimiser)
    accelerator.register_for_checkpointing(schedule)

    step, end = 0, recipe.prelude.steps + recipe.optimiser.steps
    if last:
        accelerator.load_state(str(last), load_kwargs={"weights_only": True})
        step = json.loads((last / "step.json").read_text())["step"]
    log = SummaryWriter(str(out / "logs"), purge_step=step) if accelerator.is_main_process else None
    meter, started = Meter([len(vocabulary) for vocabulary in plain.codec.vocabularies]), time.monotonic()
    with _progress("steps", quiet or not accelerator.is_main_process) as bar:
        task = bar.add_task("training", total=end, completed=step)
        while step < end and not (max_minutes and time.monotonic() - started > 60 * max_minutes):
            prelude = step < recipe.prelude.steps
            batch = crops.batch(step, recipe.prelude.batch_size if prelude else recipe.optimiser.batch_size)
            batch = batch.to(accelerator.device)
            meter.add(*train_step(accelerator, model, plain, optimiser, batch, prelude, recipe))
            schedule.step()
            step += 1
            bar.update(task, completed=step, description=meter.line())
            if log and step % recipe.log_every == 0:
                for name, value in meter.take().items():
                    log.add_scalar(name, value, step)
                log.add_scalar("learning_rate", schedule.get_last_lr()[0], step)
                log.flush()
            if step % recipe.checkpoint_every == 0:
                _checkpoint(accelerator, plain, out, step)
    _checkpoint(accelerator, plain, out, step)
    if log:
        log.close()
    return out / "codec"


def train_step(
    accelerator: Accelerator, model: Any, plain: TrainingModel, optimiser: Any, batch: Batch, prelude: bool,
    recipe: Recipe,
) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:  # fmt: skip
    """One update. Returns the losses (with their weighted `total`) and the codes used per layer."""
    model.train()
    with accelerator.autocast():
        found, used = model(batch, prelude)
    total = torch.stack([getattr(recipe.losses, name) * value for name, value in found.items()]).sum()
    optimiser.zero_grad()
    accelerator.backward(total)
    accelerator.clip_grad_norm_(plain.parameters(), recipe.optimiser.clip_norm)
    optimiser.step()
    return {**found, "total": total}, used


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
        self.sums: dict[str, float] = defaultdict(float)
        self.steps = 0

    def add(self, found: dict[str, torch.Tensor], used: list[torch.Tensor]) -> None:
        self.steps += 1
        for name, value in found.items():
            self.sums[name] += float(value.detach())
        for count, codes in zip(self.counts, used, strict=False):  # the prelude uses the first layer alone
            count += torch.bincount(codes.cpu(), minlength=len(count))

    def line(self) -> str:
        return f"training (loss {self.sums['total'] / max(1, self.steps):.3f})"

    def take(self) -> dict[str, float]:
        values = {f"loss/{name}": total / self.steps for name, total in self.sums.items()}
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


def _checkpoint(accelerator: Accelerator, plain: TrainingModel, out: Path, step: int) -> None:
    """Everything a resume needs in `last`, the codec in `codec`; at any moment `last` or `last.old` is whole."""
    fresh = out / "last.new"
    if accelerator.is_main_process:
        shutil.rmtree(fresh, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(fresh))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (fresh / "step.json").write_text(json.dumps({"step": step}))
        plain.store_tables()
        plain.codec.save_checkpoint(out / "codec")
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
        TimeElapsedColumn(), TimeRemainingColumn(), disable=quiet,
    )  # fmt: skip
