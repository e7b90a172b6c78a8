"""The losses of the decoded waveform that need no network of their own."""

from __future__ import annotations

from torch import Tensor, nn

from llmcodec.training.losses import ReconstructionLoss
from llmcodec.training.loudness import LoudnessLoss
from llmcodec.training.recipe import Losses


class WaveformLosses(nn.Module):
    """`stft`, `mel`, `envelope` and, if it has a weight, `loudness`."""

    def __init__(self, sample_rate: int, weights: Losses) -> None:
        super().__init__()
        self.reconstruction = ReconstructionLoss(sample_rate)
        self.loudness = LoudnessLoss(sample_rate) if weights.loudness else None

    def forward(self, made: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """Waveforms [B, T] -> losses by name, unweighted scalars."""
        found: dict[str, Tensor] = self.reconstruction(made, wanted)
        if self.loudness is not None:
            found["loudness"] = self.loudness(made, wanted)
        return found
