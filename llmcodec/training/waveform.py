"""The losses of what is decoded that need no network of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmcodec.codec.config import CodecConfig, SpectralConfig
from llmcodec.codec.place import Decoded, Guide
from llmcodec.training.losses import ReconstructionLoss
from llmcodec.training.loudness import LoudnessLoss
from llmcodec.training.pitch import pitch_loss, track_pitch
from llmcodec.training.recipe import Losses


class WaveformLosses(nn.Module):
    """`stft`, `mel`, `envelope`; `loudness` if it has a weight; `pitch` if the decoder has a harmonic source."""

    def __init__(self, config: CodecConfig, weights: Losses) -> None:
        super().__init__()
        self.reconstruction = ReconstructionLoss(config.sample_rate)
        self.loudness = LoudnessLoss(config.sample_rate) if weights.loudness else None
        net = config.backbone
        self.sample_rate, self.hop, self.told_voicing = config.sample_rate, 0, weights.told_voicing
        if isinstance(net, SpectralConfig) and net.harmonic_bands:
            self.hop = net.hop

    @torch.no_grad()
    def guide(self, wanted: Tensor) -> Guide | None:
        """Waveform [B, T] to reproduce -> what the harmonic source is told of it, if there is one."""
        return Guide(track_pitch(wanted, self.sample_rate, self.hop), self.told_voicing) if self.hop else None

    def forward(self, decoded: Decoded, wanted: Tensor, guide: Guide | None) -> dict[str, Tensor]:
        """What is decoded, the waveform [B, T] to reproduce, its guide -> losses by name, unweighted scalars."""
        found: dict[str, Tensor] = self.reconstruction(decoded.wave, wanted)
        if self.loudness is not None:
            found["loudness"] = self.loudness(decoded.wave, wanted)
        if guide is not None and decoded.pitch is not None:
            found["pitch"] = pitch_loss(decoded.pitch, guide.pitch)
        return found
