"""The pitch of training clips, for a decoder with a harmonic source."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmcodec.codec.source import HIGHEST_HZ, LOWEST_HZ, PITCHES, pitch_place

SECONDS = 0.025  # compared with itself one period later
SURE, DOUBTFUL = 0.15, 0.4
JUMP = 0.15  # part by which a pitch may differ from both of its neighbours
QUIET = 1e-3  # amplitude (RMS) below which nothing has a pitch


def track_pitch(wave: Tensor, sample_rate: int, hop: int) -> Tensor:
    """Waveforms [B, T] -> pitch in Hz at every hop, [B, T / hop]; 0 where there is none.

    YIN (de Cheveigné and Kawahara 2002, steps 1 to 5), without what differs from its neighbours on both sides.
    """
    size, longest, shortest = round(SECONDS * sample_rate), int(sample_rate / LOWEST_HZ), int(sample_rate / HIGHEST_HZ)
    length = size + longest
    pieces = nn.functional.pad(wave, (length // 2, length)).unfold(-1, length, hop)[:, : wave.shape[-1] // hop]
    points = 1 << (length + size - 1).bit_length()
    head = torch.fft.rfft(pieces[..., :size], points)
    product = torch.fft.irfft(torch.fft.rfft(pieces, points) * head.conj(), points)[..., : longest + 1]
    energy = nn.functional.pad(pieces.double().square().cumsum(-1), (1, 0))
    energy = (energy[..., size:] - energy[..., :-size]).float()
    unlike = (energy[..., :1] + energy[..., : longest + 1] - 2 * product).clamp(min=0)
    lags = torch.arange(longest + 1, device=wave.device)
    unlike = unlike * lags / unlike.cumsum(-1).clamp(min=1e-9)
    unlike[..., :shortest] = 1e3
    inner = unlike[..., 1:-1]
    valley = (inner <= unlike[..., :-2]) & (inner < unlike[..., 2:]) & (inner < SURE)
    deepest = inner.argmin(-1)
    lag = torch.where(valley.any(-1), valley.int().argmax(-1), deepest) + 1
    low, mid, high = (unlike.gather(-1, (lag + shift)[..., None])[..., 0] for shift in (-1, 0, 1))
    bend = low - 2 * mid + high
    shift = torch.where((bend > 0) & (low < 1e3), 0.5 * (low - high) / bend.clamp(min=1e-9), 0.0)
    pitch = sample_rate / (lag + shift.clamp(-0.5, 0.5))
    pitch = torch.where((mid < DOUBTFUL) & (energy[..., 0] > size * QUIET**2), pitch, 0.0)
    around = nn.functional.pad(pitch, (1, 1))
    steady = [(pitch - other).abs() < JUMP * pitch for other in (around[:, :-2], around[:, 2:])]
    return torch.where(steady[0] | steady[1], pitch, 0.0)


def pitch_loss(scores: Tensor, pitch: Tensor) -> Tensor:
    """Scores [B, n, PITCHES] and pitch in Hz [B, n] -> mean cross entropy in nats, of what has a pitch. The target is
    spread over the two neighbours between which it lies."""
    share = (1 - (pitch_place(pitch)[..., None] - torch.arange(PITCHES, device=pitch.device)).abs()).clamp(min=0)
    told = (pitch > 0).float()
    return -((share * scores.log_softmax(-1)).sum(-1) * told).sum() / told.sum().clamp(min=1)
