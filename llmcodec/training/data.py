"""Training batches: random crops, drawn from (seed, step), so that a resumed run sees what an unbroken one would."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from llmcodec.codec.config import CodecConfig
from llmcodec.errors import ConfigError
from llmcodec.training.augment import augment
from llmcodec.training.cache import SAMPLES_PER_ROW, FeatureCache
from llmcodec.training.recipe import Data, Recipe

MAX_WORKERS = 8


@dataclass
class Batch:
    """wave [B, T]; target [B, T], the sound to reproduce; mask [B, F, 1] of frames; rows [B, R, dim] of the audio
    teacher; texts [B, e]; has_text [B]."""

    wave: Tensor
    target: Tensor
    mask: Tensor
    rows: Tensor
    texts: Tensor
    has_text: Tensor

    def to(self, device: torch.device) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """For a `DataLoader`: from here a copy to a GPU need not be waited for."""
        return self._each(Tensor.pin_memory)

    def copy_(self, other: Batch) -> None:
        """Take the values of another batch of the same shape."""
        for name in self.__dataclass_fields__:
            getattr(self, name).copy_(getattr(other, name))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(*(change(getattr(self, name)) for name in self.__dataclass_fields__))


class CropBatches:
    """The batch of every step. Clips are drawn by kind (`Data.balance`), then by duration up to one crop.

    Each of several processes gets its own part of what one process would get with a batch so many times as large.
    """

    def __init__(
        self, cache: FeatureCache, data: Data, config: CodecConfig, seed: int, process: int = 0, processes: int = 1
    ) -> None:
        self.cache, self.data, self.seed, self.process, self.processes = cache, data, seed, process, processes
        self.frame_samples = config.frame_samples
        unit = config.unit_samples
        self.crop = max(1, round(data.crop_seconds * config.sample_rate / unit)) * unit
        self.rows = self.crop // SAMPLES_PER_ROW
        self.weights = self._weights()

    def _weights(self) -> np.ndarray:
        lengths = np.minimum(self.cache.wave_bounds[:, 1] - self.cache.wave_bounds[:, 0], self.crop).astype(float)
        if self.data.balance:
            kinds = np.array([clip.kind for clip in self.cache.clips])
            unknown = set(self.data.balance) - set(kinds.tolist())
            if unknown:
                raise ConfigError(f"recipe field data.balance: no clip is of kind {', '.join(sorted(unknown))}")
            shares = np.zeros(len(lengths))
            for kind, share in self.data.balance.items():
                chosen = kinds == kind
                shares[chosen] = share * lengths[chosen] / lengths[chosen].sum()
            lengths = shares
        return lengths / lengths.sum()

    def batch(self, step: int, size: int) -> Batch:
        random = np.random.default_rng([self.seed, step])
        chosen = random.choice(len(self.weights), size * self.processes, p=self.weights)
        seeds = random.integers(1 << 62, size=len(chosen))
        mine = slice(self.process * size, (self.process + 1) * size)
        waves, targets, masks, rows, texts, has_text = [], [], [], [], [], []
        for clip, seed in zip(chosen[mine].tolist(), seeds[mine].tolist(), strict=True):
            random = np.random.default_rng(seed)
            length = int(self.cache.wave_bounds[clip, 1] - self.cache.wave_bounds[clip, 0])
            start = int(random.integers(max(0, length - self.crop) // SAMPLES_PER_ROW + 1))
            wave = self.cache.wave(clip, start * SAMPLES_PER_ROW, self.crop)
            kind = self.cache.clips[clip].kind
            wave, target = map(torch.from_numpy, augment(wave.numpy(), kind, self.data, random))
            frames = -(-len(wave) // self.frame_samples)
            features = self.cache.rows(clip, start, self.rows)
            masks.append((torch.arange(self.crop // self.frame_samples) < frames).float())
            waves.append(nn.functional.pad(wave, (0, self.crop - len(wave))))
            targets.append(nn.functional.pad(target, (0, self.crop - len(wave))))
            missing = self.rows - len(features)
            rows.append(torch.cat([features, features.mean(0, keepdim=True).expand(missing, -1)]))
            text = int(self.cache.text_rows[clip])
            has_text.append(float(text >= 0))
            texts.append(self.cache.text(text) if text >= 0 else torch.zeros(self.cache.texts.shape[1]))
        mask = torch.stack(masks)[..., None]
        wave, target = torch.stack(waves), torch.stack(targets)
        return Batch(wave, target, mask, torch.stack(rows), torch.stack(texts), torch.tensor(has_text))


class StepBatches(Dataset[list[Batch]]):
    """The batches of each step of a run, by its number: `accumulate` of them."""

    def __init__(self, crops: CropBatches, recipe: Recipe) -> None:
        self.crops, self.recipe = crops, recipe

    def __getitem__(self, step: int) -> list[Batch]:
        recipe, count = self.recipe, self.recipe.optimiser.accumulate
        size = recipe.prelude.batch_size if step < recipe.prelude.steps else recipe.optimiser.batch_size
        return [self.crops.batch(step * count + k, size) for k in range(count)]

    def from_step(self, step: int, device: torch.device) -> Iterator[list[Batch]]:
        """The batches of this step and all behind it, on a device; for a GPU, drawn ahead by other processes."""
        steps = range(step, self.recipe.prelude.steps + self.recipe.optimiser.steps)
        gpu = device.type == "cuda"
        workers = min(MAX_WORKERS, os.cpu_count() or 1) if gpu else 0
        own = torch.Generator()  # or else it would draw from the one whose state a checkpoint keeps
        for batches in DataLoader(
            self, batch_size=None, sampler=steps, num_workers=workers, pin_memory=gpu, generator=own
        ):
            yield [batch.to(device) for batch in batches]
