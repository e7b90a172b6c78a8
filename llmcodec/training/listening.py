"""The listening loss: decoded sound has to be heard by Whisper as the original is."""

from __future__ import annotations

import torch
from torch import Tensor

from llmcodec.teachers import AudioTeacher


class ListeningLoss:
    """L1 between the hidden states of a Whisper encoder layer, each dimension in units of its deviation over a batch.

    The teacher is frozen and no part of the trained model: it is neither saved nor averaged.
    """

    def __init__(self, teacher: AudioTeacher) -> None:
        self.teacher = teacher

    def __call__(self, wanted: Tensor, made: Tensor) -> Tensor:
        """Waveforms [B, T] at 16 kHz, T a multiple of 320 -> scalar; 0: the same to Whisper; about 1: unlike."""
        with torch.no_grad():
            target = self.teacher.hear(wanted)
            scale = target.flatten(0, 1).std(0) + 1e-3
        return ((self.teacher.hear(made) - target) / scale).abs().mean()
