"""What is trained where a recipe `learns` the decoder: that alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmcodec.codec import LLMCodec
from llmcodec.training.data import Batch
from llmcodec.training.recipe import Losses
from llmcodec.training.waveform import WaveformLosses


class DecoderTraining(nn.Module):
    """A codec whose decoder learns from the waveform's losses. Every code of every sound stays what it is, to the bit,
    and so do the running means that give it."""

    def __init__(self, codec: LLMCodec, weights: Losses) -> None:
        super().__init__()
        self.codec = codec
        self.on_wave = WaveformLosses(codec.config, weights)
        self.requires_grad_(False)
        codec.decoder.requires_grad_(True)

    def train(self, mode: bool = True) -> DecoderTraining:
        """As ever, but of the decoder alone."""
        super().train(mode)
        self.codec.encoder.eval()
        self.codec.quantizer.eval()
        return self

    def store_tables(self) -> None:
        """The codec has its tables."""

    def forward(self, batch: Batch, prelude: bool = False) -> tuple[dict[str, Tensor], list[Tensor], Tensor]:
        """-> losses by name (unweighted scalars), no codes (they do not change), the decoded wave.

        Such a recipe has no prelude.
        """
        with torch.autocast(batch.wave.device.type, enabled=False):  # what is learned is small; phases need digits
            with torch.no_grad():
                latent, context = self.codec.encoder(batch.wave, batch.mask)
                quantised, _ = self.codec.quantizer(latent, context, batch.mask)
            guide = self.on_wave.guide(batch.target)
            decoded = self.codec.decoder(quantised, batch.mask, guide=guide)
            return self.on_wave(decoded, batch.target, guide), [], decoded.wave
