"""The pitch of training clips, for a decoder with a harmonic source."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmcodec.codec.source import HIGHEST_HZ, LOWEST_HZ, PITCHES, pitch_place

SECONDS = 0.025  # compared with itself one period later
SURE, DOUBTFUL = 0.15, 0.4  # the first valley so deep is the period; without one, the deepest if it is no higher
JUMP = 0.15  # part by which a pitch may differ from both of its neighbours
GAP = 5  # hops, without a pitch, that are bridged
QUIET = 1e-3  # amplitude (RMS) below which nothing has a pitch


def track_pitch(wave: Tensor, sample_rate: int, hop: int) -> Tensor:
    """Waveforms [B, T] -> pitch in Hz at every hop, [B, T / hop]; 0 where there is none.

    YIN (de Cheveigné and Kawahara 2002, steps 1 to 5), without what differs from its neighbours on both sides; short
    gaps are bridged.
    """
    size, longest, shortest = round(SECONDS * sample_rate), int(sample_rate / LOWEST_HZ), int(sample_rate / HIGHEST_HZ)
    length = size + longest
    pieces = nn.functional.pad(wave, (length // 2, length)).unfold(-1, length, hop)[:, : wave.shape[-1] // hop]
    points = 1 << (length + size - 1).bit_length()
    head = torch.fft.rfft(pieces[..., :size], points)
    product = torch.fft.irfft(torch.fft.rfft(pieces, points) * head.conj(), points)[..., : longest + 1]
    energy = nn.functional.pad(pieces.square().cumsum(-1), (1, 0))
    energy = energy[..., size:] - energy[..., :-size]
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
    return bridged(torch.where(steady[0] | steady[1], pitch, 0.0))


def bridged(pitch: Tensor) -> Tensor:
    """Pitch [B, n], 0 where there is none -> the same with a straight line across gaps of up to `GAP`."""
    count = pitch.shape[-1]
    place = torch.arange(count, device=pitch.device)
    before = torch.where(pitch > 0, place, -1).cummax(-1).values
    behind = count - 1 - torch.where(pitch.flip(-1) > 0, place, -1).cummax(-1).values.flip(-1)
    near = (before >= 0) & (behind < count) & (behind - before <= GAP + 1)
    low, high = pitch.gather(-1, before.clamp(min=0)), pitch.gather(-1, behind.clamp(max=count - 1))
    line = low + (high - low) * (place - before) / (behind - before).clamp(min=1)
    return torch.where(near, line, pitch)


def pitch_loss(scores: Tensor, pitch: Tensor) -> Tensor:
    """Scores [B, n, PITCHES + 1] and pitch in Hz [B, n], 0 where there is none -> cross entropy in nats: of the pitches
    where there is one (the target is spread over the two between which it lies), plus that of there being one."""
    share = (1 - (pitch_place(pitch)[..., None] - torch.arange(PITCHES, device=pitch.device)).abs()).clamp(min=0)
    told = (pitch > 0).float()
    pitches = -((share * scores[..., :-1].log_softmax(-1)).sum(-1) * told).sum() / told.sum().clamp(min=1)
    return pitches + nn.functional.binary_cross_entropy_with_logits(scores[..., -1], told)
