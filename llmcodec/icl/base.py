"""What a scorer promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from llmcodec.prompting import ClipWords

Ids = list[int]  # of a prompt
BATCH = 8  # queries whose own contexts are in memory at once
KEPT = 4096  # clips that a scorer remembers what the model said of


class Scorer(Protocol):
    """Class scores of queries."""

    def fit(self, demonstrations: Sequence[Sequence[ClipWords]], labels: Sequence[str]) -> None:
        """demonstrations[c]: the words of every clip of class c; labels[c]: what the class is called."""
        ...

    def scores(self, queries: Sequence[ClipWords]) -> Tensor:
        """Words of queries -> float32 [N, C]; the softmax of a row is the probability of each class."""
        ...
