"""The training loop: accelerate for devices and processes, checkpoints that resume exactly, logs, codebook use."""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import SafetensorError
from torch.utils.tensorboard import SummaryWriter

from llmcodec.errors import ConfigError, first_line
from llmcodec.evaluation.provenance import write_text
from llmcodec.locks import sole_use
from llmcodec.temporary import PATTERN
from llmcodec.training.data import CropBatches, StepBatches
from llmcodec.training.prepare import feature_cache, prepare, prepare_decoder
from llmcodec.training.recipe import Recipe
from llmcodec.training.step import Run, train_step


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
        return f"training (loss {float(self.sums['total']) / self.steps:.3f})"

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
        model = run.to_export()
        model.store_tables()
        model.codec.save_checkpoint(out / "codec")
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
