"""`knn`: clips compared by their words and by those that the model expects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llmcodec.icl.base import KEPT, Ids
from llmcodec.prompting import PromptBuilder


class NeighbourScorer:
    """Are the query and a class's demonstrations alike in their words, and in what the model expects while it reads
    them? (kNN prompting: Xu et al., 2023.)

    The model reads each clip once and alone, so that any number of demonstrations fits. A clip is a distribution over
    the codec's words: those that it holds, mixed with those that the model expected (`expected`: their share), which
    makes up for words that short clips happen not to hold. The score of a class is the cosine of the square roots of
    the query's distribution and of those of its demonstrations, averaged, times a sharpness. Where a class has two
    demonstrations or more, that is found by naming each of them by all others; `sharpness` is where the search begins.
    """

    def __init__(self, builder: PromptBuilder, expected: float = 0.25, sharpness: float = 10.0) -> None:
        self.builder, self.llm = builder, builder.llm
        self.expected, self.sharpness = expected, sharpness
        self._empty = self.llm.prepare([builder.context([])])[0]
        self._places = {token: place for place, token in enumerate(builder.words)}
        self._known: dict[tuple[int, ...], Tensor] = {}  # clips as read, kept from fit to fit

    def fit(self, demonstrations: Sequence[Sequence[Ids]], labels: Sequence[str]) -> None:
        """See Scorer."""
        by_class = [self._read(clips) for clips in demonstrations]
        self._classes = nn.functional.normalize(torch.stack([rows.mean(0) for rows in by_class]))
        self._scale = fitted_sharpness(by_class, self.sharpness)

    def scores(self, queries: Sequence[Ids]) -> Tensor:
        """See Scorer."""
        return self._scale * self._read(queries) @ self._classes.T

    def parts(self, query: Ids) -> Tensor:
        """What each word of the query adds to the score of each class: [len(set(query)), C], in the order of words."""
        held = list(dict.fromkeys(query))
        places = [self._places[token] for token in held]
        return self._scale * self._read([query])[0, places, None] * self._classes.T[places]

    def _read(self, clips: Sequence[Ids]) -> Tensor:
        """Square roots of the distributions of clips: [N, words]."""
        if len(self._known) > KEPT:
            self._known.clear()
        new = sorted({tuple(clip) for clip in clips} - self._known.keys())
        for clip in new:
            self.builder.check(len(self._empty) + len(clip), "a clip")
        expected = self.llm.expected([(self._empty, clip) for clip in new], list(self._places)) if new else ()
        for clip, row in zip(new, expected, strict=True):
            if clip:
                held = torch.tensor([self._places[token] for token in clip]).bincount(minlength=len(row)) / len(clip)
                row = (1 - self.expected) * held + self.expected * row
            self._known[clip] = row.sqrt()
        rows = [self._known[tuple(clip)] for clip in clips]
        return torch.stack(rows) if rows else torch.zeros(0, len(self._places))


def fitted_sharpness(by_class: Sequence[Tensor], usual: float, spread: float = 0.5, steps: int = 33) -> float:
    """The sharpness that names each demonstration best by all others: rows [shots, V] of each class, of unit length.

    It maximises the log-likelihood of the labels, and its own, a normal distribution of its logarithm around that of
    `usual` with deviation `spread`, so that few demonstrations move it little. Without two in every class: `usual`.
    """
    if min(len(rows) for rows in by_class) < 2:
        return usual
    owner = torch.arange(len(by_class)).repeat_interleave(torch.tensor([len(rows) for rows in by_class]))
    rows, sums = torch.cat(list(by_class)), torch.stack([rows.sum(0) for rows in by_class])
    cosines = rows @ nn.functional.normalize(sums).T
    others = nn.functional.normalize(sums[owner] - rows)
    cosines[torch.arange(len(rows)), owner] = (rows * others).sum(1)
    offsets = torch.linspace(-3 * spread, 3 * spread, steps)
    scales = usual * offsets.exp()
    likelihood = (scales[:, None, None] * cosines).log_softmax(-1)[:, torch.arange(len(rows)), owner].sum(1)
    return float(scales[(likelihood - 0.5 * (offsets / spread) ** 2).argmax()])
