"""What a decoder is told besides latents, of the clip before a piece or of the original in training; what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Decoded(NamedTuple):
    """wave float32 [B, F * frame_samples]; of a decoder with a harmonic source, its phase at each frame's start, int64
    [B, F], and the scores of the pitches of each spectrum [B, n, PITCHES + 1]."""

    wave: Tensor
    turns: Tensor | None = None
    pitch: Tensor | None = None


@dataclass(frozen=True)
class Place:
    """Where in its clip a piece begins: `first` frames lie before it.

    turns: the phase of a harmonic source, int64 [B], `known` frames behind its beginning: the first frame of the piece
    that comes out as in the whole clip.
    """

    first: int = 0
    known: int = 0
    turns: Tensor | None = None


@dataclass(frozen=True)
class Guide:
    """What a harmonic source is told of the original, in training.

    pitch: in Hz at every hop, [B, n]; 0 where there is none. voicing: the source sounds where there is one, not where
    the latents let expect one.
    """

    pitch: Tensor
    voicing: bool = True
