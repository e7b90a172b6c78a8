"""How near words lie to each other: clips as shares of landmarks in the codebooks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from llmcodec.codec.codes import AudioCodes
from llmcodec.codec.model import LLMCodec
from llmcodec.errors import ConfigError

LANDMARKS = 512
SHARPNESS = 16.0


class WordSpace:
    """Some layers of a codec, with what their codebooks know: which words stand for nearly the same sound.

    Each word is spread over landmarks by the softmax of 16 times the cosine between their codebook rows; landmarks are
    up to 512 words of its layer, evenly spaced in its vocabulary. Two clips that share no word are alike if their words
    lie close. ConfigError if the codec lacks a layer.
    """

    def __init__(self, codec: LLMCodec, layers: Sequence[str]) -> None:
        for name in layers:
            if name not in codec.layer_names:
                raise ConfigError(f"the codec has no layer {name!r}; allowed: {', '.join(codec.layer_names)}")
        self.places = [codec.layer_names.index(name) for name in layers]
        self._tables = [codec.quantizer.layers[place].get_buffer("table") for place in self.places]

    @cached_property
    def _spread(self) -> list[Tensor]:
        return [_spread(table) for table in self._tables]  # not all scorers ask for it

    @property
    def sizes(self) -> list[int]:
        """Words of each layer."""
        return [len(table) for table in self._tables]

    def shares(self, clips: Sequence[AudioCodes]) -> list[Tensor]:
        """Codes of single clips -> [N, V_l] per layer: how large a part of the clip's words each word is."""
        return [
            torch.stack([word_shares(clip.layers[place].flatten(), size) for clip in clips])
            for place, size in zip(self.places, self.sizes, strict=True)
        ]

    def vectors(self, shares: Sequence[Tensor]) -> Tensor:
        """Shares of words [N, V_l] per layer -> [N, D] of length 1: square roots of the landmarks' shares."""
        return nn.functional.normalize(torch.cat(self._roots(shares), dim=1), dim=1)

    def parts(self, shares: Sequence[Tensor], vectors: Tensor) -> list[Tensor]:
        """What each word of one clip adds to the cosines between it and others.

        shares: [V_l] per layer; vectors: [C, D], see `vectors`. Returns [V_l, C] per layer.
        """
        roots = self._roots([row[None] for row in shares])
        weights = vectors / torch.cat(roots, dim=1).norm().clamp(min=1e-12)
        found, start = [], 0
        for row, root, spread in zip(shares, roots, self._spread, strict=True):
            part = weights[:, start : start + root.shape[1]] / root.clamp(min=1e-12)
            found.append(row[:, None] * (spread @ part.T))
            start += root.shape[1]
        return found

    def _roots(self, shares: Sequence[Tensor]) -> list[Tensor]:
        return [(rows @ spread).sqrt() for rows, spread in zip(shares, self._spread, strict=True)]


def word_shares(codes: Tensor, size: int) -> Tensor:
    """Codes [T] of one layer, padding (negative) left out -> [size], summing to 1; zeros for no codes."""
    held = codes[codes >= 0].bincount(minlength=size)
    return held / held.sum().clamp(min=1)


def _spread(table: Tensor) -> Tensor:
    """Codebook [V, d] -> [V, landmarks], rows summing to 1."""
    rows = nn.functional.normalize(table.detach().float().cpu(), dim=1)
    chosen = torch.linspace(0, len(rows) - 1, min(LANDMARKS, len(rows))).long()
    return (SHARPNESS * rows @ rows[chosen].T).softmax(1)
