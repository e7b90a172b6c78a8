"""The pitch that the decoder is taught: normalised autocorrelation (Boersma 1993)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmcodec.codec.config import SpectralConfig

WINDOW_SECONDS = 0.05
OCTAVE_COST = 0.03  # per octave, against taking a multiple of the period
MEDIAN = 5  # hops
CUTOFF = 1500.0  # Hz; above, voices are less periodic and lags are too coarse


@torch.no_grad()
def track_pitch(wave: Tensor, net: SpectralConfig, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Waveform [B, T], T a multiple of the hop -> pitch [B, T / hop] in Hz, from `pitch_low` to `pitch_high`, and how
    periodic the sound is there, 0 to 1."""
    size = round(WINDOW_SECONDS * sample_rate)
    margin = size - net.hop
    frames = nn.functional.pad(wave, (margin // 2, margin - margin // 2)).unfold(-1, size, net.hop)
    window = torch.hann_window(size, device=wave.device)
    longest, shortest = sample_rate // net.pitch_low, max(2, sample_rate // net.pitch_high)
    correlation = _autocorrelation((frames - frames.mean(-1, keepdim=True)) * window, longest + 2, sample_rate)
    taper = _autocorrelation(window, longest + 2, sample_rate)
    correlation = correlation / (correlation[..., :1] + 1e-4) / (taper / taper[0])
    lags = torch.arange(shortest, longest + 1, device=wave.device)
    score = correlation[..., shortest : longest + 1] - OCTAVE_COST * (lags / shortest).log2()
    best = score.argmax(-1, keepdim=True) + shortest
    before, at, after = (correlation.gather(-1, best + step)[..., 0] for step in (-1, 0, 1))
    bend = (before - 2 * at + after).clamp(max=-1e-6)
    lag = best[..., 0] + ((before - after) / (2 * bend)).clamp(-0.5, 0.5)
    lag = nn.functional.pad(lag[:, None], (MEDIAN // 2, MEDIAN // 2), mode="replicate")[:, 0]
    lag = lag.unfold(-1, MEDIAN, 1).median(-1).values
    return (sample_rate / lag).clamp(net.pitch_low, net.pitch_high), at.clamp(0, 1)


def _autocorrelation(frames: Tensor, lags: int, sample_rate: int) -> Tensor:
    """[..., size] -> [..., lags], of what lies below about `CUTOFF`."""
    size = 1 << (frames.shape[-1] + lags - 1).bit_length()
    spectrum = torch.fft.rfft(frames, size)
    hertz = torch.linspace(0, sample_rate / 2, spectrum.shape[-1], device=frames.device)
    return torch.fft.irfft(spectrum.abs().square() * (-(hertz / CUTOFF).square()).exp(), size)[..., :lags]
