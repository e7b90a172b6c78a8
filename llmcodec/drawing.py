"""What pictures and pages of clips are made of, whoever draws them."""

from __future__ import annotations

import base64
import io
from zlib import crc32

import soundfile
import torch
from torch import Tensor

FLOOR = 80.0  # decibels below the loudest


def spectrogram(wave: Tensor, sample_rate: int) -> Tensor:
    """Waveform [T] -> decibels [frequencies, times], a column every 10 ms, at most FLOOR below the loudest."""
    hop = sample_rate // 100
    size = 4 * hop
    padded = torch.nn.functional.pad(wave, (0, -len(wave) % hop))
    power = torch.stft(
        padded, size, hop, window=torch.hann_window(size), pad_mode="constant", return_complex=True
    ).abs()
    decibels = 20 * power.clamp(min=1e-8).log10()
    return decibels.clamp(min=float(decibels.max()) - FLOOR)


def shade(word: str, shades: int) -> int:
    """Which of so many colours a word has: the same for the same word."""
    return crc32(word.encode()) % shades


def data_address(content: bytes, kind: str) -> str:
    """Bytes of that media type as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def sound_address(wave: Tensor, sample_rate: int) -> str:
    """A clip as an address that holds it, as MP3."""
    file = io.BytesIO()
    soundfile.write(file, wave.clamp(-1, 1).numpy(), sample_rate, format="MP3")
    return data_address(file.getvalue(), "audio/mpeg")
