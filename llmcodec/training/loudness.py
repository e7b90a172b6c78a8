"""The loudness loss: decoded sound has to be as loud as the original in every band of the ear."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FFT_SIZE = 512
BARK_BANDS = 49
LISTENING_DB = 79.0  # sound pressure at which PESQ has people listen


class LoudnessLoss(nn.Module):
    """How unlike two sounds are in loudness, after the perceptual model of PESQ (ITU-T P.862, section 10.2).

    Power in 49 Bark bands at a listening level of 79 dB -> loudness (Zwicker); differences below a quarter of the
    softer loudness are masked; what was added counts more than what is missing. Left out: the alignment of time, gain
    and frequency response, which other losses hold in place.
    """

    window: Tensor
    bands: Tensor
    threshold: Tensor

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        frequencies = torch.linspace(0, sample_rate / 2, FFT_SIZE // 2 + 1)
        bark = 26.81 * frequencies / (1960 + frequencies) - 0.53  # Traunmueller 1990
        edges = torch.linspace(float(bark[1]), float(bark[-1]), BARK_BANDS + 1)
        band = torch.bucketize(bark[1:].contiguous(), edges[1:-1])
        bands = nn.functional.pad(nn.functional.one_hot(band, BARK_BANDS).float(), (0, 0, 1, 0))
        kilohertz = (frequencies[:, None] * bands).sum(0) / bands.sum(0).clamp(min=1) / 1000
        used = bands.sum(0) > 0
        quiet = 3.64 * kilohertz**-0.8 - 6.5 * (-0.6 * (kilohertz - 3.3) ** 2).exp() + 1e-3 * kilohertz**4  # Terhardt
        self.register_buffer("window", torch.hann_window(FFT_SIZE), persistent=False)
        self.register_buffer("bands", bands[:, used], persistent=False)
        self.register_buffer("threshold", 10 ** (quiet[used] / 10), persistent=False)

    def forward(self, made: Tensor, wanted: Tensor) -> Tensor:
        """Waveforms [B, T] -> scalar, the weighted disturbances by which PESQ lowers its score of 4.5."""
        ours, theirs = self._power(made), self._power(wanted)
        level = 10 ** (LISTENING_DB / 10) / theirs.sum(-1).mean(-1).clamp(min=1e-6)[:, None, None]
        ours, theirs = level * ours, level * theirs
        louder, aim = self._loudness(ours), self._loudness(theirs)
        heard = ((louder - aim).abs() - torch.minimum(louder, aim) / 4).clamp(min=0)
        added = ((ours + 50) / (theirs + 50)).detach() ** 1.2
        added = torch.where(added < 3, 0.0, added.clamp(max=12))
        plain = (heard.square().sum(-1) + 1e-6).sqrt()
        return 0.1 * plain.mean() + 0.0309 * (heard * added).sum(-1).clamp(max=45).mean()

    def _power(self, wave: Tensor) -> Tensor:
        """Waveform [B, T] -> power [B, n, bands]."""
        hop = FFT_SIZE // 2
        spectrum = torch.stft(wave, FFT_SIZE, hop, window=self.window, return_complex=True).transpose(1, 2)
        return (spectrum.real.square() + spectrum.imag.square()) @ self.bands

    def _loudness(self, power: Tensor) -> Tensor:
        """Zwicker's law, about in sone (a tone of 1 kHz and 40 dB)."""
        scale = (self.threshold / 0.5 / 1e4) ** 0.23
        return scale * ((0.5 + 0.5 * (power / self.threshold).clamp(min=1)) ** 0.23 - 1)
