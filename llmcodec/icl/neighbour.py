"""`knn`: clips compared by their words and by those that the model expects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llmcodec.codec import WordSpace
from llmcodec.codec.wordspace import word_shares
from llmcodec.icl.base import KEPT
from llmcodec.prompting import ClipWords, PromptBuilder

BATCH = 64  # clips whose words are counted at once


class NeighbourScorer:
    """Are the query and a class's demonstrations alike in their words, and in what the model expects while it reads
    them? (kNN prompting: Xu et al., 2023.)

    The model reads each clip once and alone, so that any number of demonstrations fits. A clip is a distribution over
    the codec's words: those that it holds, mixed with those that the model expected (`expected`: their share), which
    makes up for words that short clips happen not to hold; a word speaks for those near it in the codebook too (see
    WordSpace). The score of a class is the cosine of the square roots of the query's distribution and of those of its
    demonstrations, averaged, times a sharpness. Where a class has two demonstrations or more, that is found by naming
    each of them by all others; `sharpness` is where the search begins.
    """

    def __init__(
        self, builder: PromptBuilder, space: WordSpace, expected: float = 0.25, sharpness: float = 7.0
    ) -> None:
        self.builder, self.llm, self.space = builder, builder.llm, space
        self.expected, self.sharpness = expected, sharpness
        self._empty = self.llm.prepare([builder.context([])])[0]
        self._codes = [{token: code for code, token in enumerate(tokens)} for tokens in builder.tokens]
        self._words = list(builder.words)
        places = {token: place for place, token in enumerate(self._words)}
        self._columns = [torch.tensor([places[token] for token in tokens]) for tokens in builder.tokens]
        self._known: dict[tuple[tuple[int, ...], ...], Tensor] = {}  # clips as read, kept from fit to fit

    def fit(self, demonstrations: Sequence[Sequence[ClipWords]], labels: Sequence[str]) -> None:
        """See Scorer."""
        by_class = [self._read(clips) for clips in demonstrations]
        self._classes = nn.functional.normalize(torch.stack([rows.mean(0) for rows in by_class]))
        self._scale = fitted_sharpness(by_class, self.sharpness)

    def scores(self, queries: Sequence[ClipWords]) -> Tensor:
        """See Scorer."""
        if not queries:
            return torch.zeros(0, len(self._classes))
        return self._scale * self._read(queries) @ self._classes.T

    def parts(self, query: ClipWords) -> dict[int, Tensor]:
        """What each word that the query holds adds to the score of each class: [C] by token id."""
        added = self.space.parts([rows[0] for rows in self._shares([query])], self._classes)
        found = {token: torch.zeros(len(self._classes)) for token in query}
        for row, codes, parts in zip(query.rows, self._codes, added, strict=True):
            for token in set(row):
                found[token] += self._scale * parts[codes[token]]
        return found

    def _read(self, clips: Sequence[ClipWords]) -> Tensor:
        """Clips as vectors of length 1: [N, D]."""
        if len(self._known) > KEPT:
            self._known.clear()
        new = [clip for rows, clip in {clip.rows: clip for clip in clips}.items() if rows not in self._known]
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            self._known.update(zip([clip.rows for clip in batch], self.space.vectors(self._shares(batch)), strict=True))
        return torch.stack([self._known[clip.rows] for clip in clips])

    def _shares(self, clips: Sequence[ClipWords]) -> list[Tensor]:
        """Shares of words, held and expected: [N, V_l] per layer."""
        for clip in clips:
            self.builder.check(len(self._empty) + len(clip), "a clip")
        expected = self.llm.expected([(self._empty, clip) for clip in clips], self._words)
        shares = []
        for layer, (codes, columns) in enumerate(zip(self._codes, self._columns, strict=True)):
            rows = [torch.tensor([codes[token] for token in clip.rows[layer]], dtype=torch.long) for clip in clips]
            held = torch.stack([word_shares(row, len(codes)) for row in rows])
            guessed = nn.functional.normalize(expected[:, columns], p=1, dim=1)
            weight = torch.tensor([[self.expected if len(row) else 1.0] for row in rows])
            shares.append((1 - weight) * held + weight * guessed)
        return shares


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
