"""Training batches: random crops, drawn from (seed, step), so that a resumed run sees what an unbroken one would."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from llmcodec.codec.config import CodecConfig
from llmcodec.errors import ConfigError
from llmcodec.training.augment import augment
from llmcodec.training.cache import SAMPLES_PER_ROW, FeatureCache
from llmcodec.training.recipe import Data


@dataclass
class Batch:
    """wave [B, T]; mask [B, F, 1] of frames; rows [B, R, dim] of the audio teacher; texts [B, e]; has_text [B]."""

    wave: Tensor
    mask: Tensor
    rows: Tensor
    texts: Tensor
    has_text: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


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
        waves, masks, rows, texts, has_text = [], [], [], [], []
        for clip, seed in zip(chosen[mine].tolist(), seeds[mine].tolist(), strict=True):
            random = np.random.default_rng(seed)
            length = int(self.cache.wave_bounds[clip, 1] - self.cache.wave_bounds[clip, 0])
            start = int(random.integers(max(0, length - self.crop) // SAMPLES_PER_ROW + 1))
            wave = self.cache.wave(clip, start * SAMPLES_PER_ROW, self.crop)
            wave = torch.from_numpy(augment(wave.numpy(), self.data, random))
            frames = -(-len(wave) // self.frame_samples)
            features = self.cache.rows(clip, start, self.rows)
            masks.append((torch.arange(self.crop // self.frame_samples) < frames).float())
            waves.append(nn.functional.pad(wave, (0, self.crop - len(wave))))
            missing = self.rows - len(features)
            rows.append(torch.cat([features, features.mean(0, keepdim=True).expand(missing, -1)]))
            text = int(self.cache.text_rows[clip])
            has_text.append(float(text >= 0))
            texts.append(self.cache.text(text) if text >= 0 else torch.zeros(self.cache.texts.shape[1]))
        mask = torch.stack(masks)[..., None]
        return Batch(torch.stack(waves), mask, torch.stack(rows), torch.stack(texts), torch.tensor(has_text))
