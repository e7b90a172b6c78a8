"""Power spectra and mel filters."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def power_spectra(pieces: Tensor) -> Tensor:
    """Pieces of sound [..., size] -> squared magnitudes of their spectra [..., size / 2 + 1]."""
    spectra = torch.fft.rfft(pieces)
    return spectra.real.square() + spectra.imag.square()  # `abs` takes a root first, four times slower


def mel_filterbank(mels: int, fft_size: int, sample_rate: int) -> Tensor:
    """Triangular filters, equally spaced on the HTK mel scale, each summing to 1: [fft_size / 2 + 1, mels]."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, mels + 2) / 2595) - 1)
    bins = torch.linspace(0, sample_rate / 2, fft_size // 2 + 1)
    weights = _triangles(edges, bins)
    nearest = (edges[1:-1, None] - bins).abs().argmin(1)  # a narrow filter between two bins takes its nearest bin
    weights[nearest, torch.arange(mels)] += (weights.sum(0) == 0).float()
    return weights / weights.sum(0)


def slaney_filterbank(mels: int, fft_size: int, sample_rate: int) -> Tensor:
    """The filters of Slaney's Auditory Toolbox, each of the same area, which Whisper hears with: triangles equally
    spaced below 1 kHz and on a logarithmic scale above: [fft_size / 2 + 1, mels]."""
    step = math.log(6.4) / 27
    top = sample_rate / 2
    marks = torch.linspace(0, 3 * top / 200 if top < 1000 else 15 + math.log(top / 1000) / step, mels + 2)
    edges = torch.where(marks < 15, 200 * marks / 3, 1000 * ((marks - 15) * step).exp())
    bins = torch.linspace(0, top, fft_size // 2 + 1)
    return _triangles(edges, bins) * 2 / (edges[2:] - edges[:-2])


def _triangles(edges: Tensor, bins: Tensor) -> Tensor:
    """Edges [n + 2] and bins [b] in Hz -> [b, n], 1 where a filter's middle edge lies."""
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0)
