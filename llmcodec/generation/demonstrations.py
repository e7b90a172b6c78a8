"""Demonstrations of a generation: pairs of an input and its audio, and which of them are near a query."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from statistics import median_low

from torch import Tensor

from llmcodec.codec import AudioCodes, WordSpace


@dataclass(frozen=True, eq=False)
class Demonstration:
    """One pair: `given` is a text or the codes of a clip, `codes` those of the audio it stands for."""

    given: str | AudioCodes
    codes: AudioCodes
    ids: tuple[int, ...] = field(repr=False)  # its block of the prompt

    @property
    def samples(self) -> int:
        return int(self.codes.samples)


def plain(text: str) -> str:
    """Lower case, punctuation and outer space away: texts that say the same are the same."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def text_nearness(text: str, demonstrations: Sequence[Demonstration]) -> list[float]:
    """How alike the text of each demonstration is to `text`: 1 is the same, ignoring case and punctuation."""
    wanted = plain(text)
    return [SequenceMatcher(None, wanted, plain(str(one.given)), autojunk=False).ratio() for one in demonstrations]


def word_nearness(codes: AudioCodes, given: Sequence[AudioCodes], space: WordSpace) -> list[float]:
    """How alike the words of each clip of `given` are to those of a clip, 0..1: see WordSpace."""
    vectors: Tensor = space.vectors(space.shares([codes, *given]))
    return (vectors[1:] @ vectors[0]).tolist()


def usual_samples(demonstrations: Sequence[Demonstration], nearness: Sequence[float]) -> int:
    """The duration of the nearest demonstrations, in samples: of those equally near the median."""
    best = max(nearness)
    return median_low(one.samples for one, near in zip(demonstrations, nearness, strict=True) if near == best)


def segments(text: str, known: Sequence[str]) -> list[str] | None:
    """Texts of `known` that make up `text`, from the left each as long as possible; None if there are none such."""
    words, phrases = plain(text).split(), {plain(one): one for one in known}
    found, start = [], 0
    while start < len(words):
        ends = [end for end in range(len(words), start, -1) if " ".join(words[start:end]) in phrases]
        if not ends:
            return None
        found.append(phrases[" ".join(words[start : ends[0]])])
        start = ends[0]
    return found
