"""`channel`: is the query likelier behind this class's demonstrations?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from llmcodec.icl.base import BATCH, KEPT
from llmcodec.llm import Prefix
from llmcodec.prompting import ClipWords, PromptBuilder


class ChannelScorer:
    """Is the query likelier after this class's demonstrations? (Noisy channel: Min et al., 2022.)

    One context per class holds only that class's demonstrations. A word counts by max(0, log p(word | context) -
    log p(word | empty context)): what a demonstration made likelier speaks for its class, and a word that no
    demonstration holds says nothing. Both directions are asked, the query given the demonstrations and each
    demonstration given the query, as mean gain per word; their sum times `sharpness` is the score.
    """

    def __init__(self, builder: PromptBuilder, sharpness: float = 4.0) -> None:
        self.builder, self.llm = builder, builder.llm
        self.sharpness = sharpness
        self._empty = self.llm.prepare([builder.context([])])[0]
        self._known: dict[ClipWords, Tensor] = {}  # scores in the empty context, kept from fit to fit

    def fit(self, demonstrations: Sequence[Sequence[ClipWords]], labels: Sequence[str]) -> None:
        """See Scorer."""
        self._demonstrations = [list(clips) for clips in demonstrations]
        self._contexts = self.llm.prepare([self.builder.context(clips) for clips in self._demonstrations])

    def scores(self, queries: Sequence[ClipWords]) -> Tensor:
        """See Scorer."""
        parts = [self._scores(queries[start : start + BATCH]) for start in range(0, len(queries), BATCH)]
        return torch.cat(parts) if parts else torch.zeros(0, len(self._contexts))

    def _scores(self, queries: Sequence[ClipWords]) -> Tensor:
        every = list(chain.from_iterable(self._demonstrations))
        as_contexts = self.llm.prepare([self.builder.context([query]) for query in queries])
        forward = self._gains([(context, query) for query in queries for context in self._contexts])
        backward = self._gains([(context, clip) for context in as_contexts for clip in every])
        by_class = backward.reshape(len(queries), -1).split([len(clips) for clips in self._demonstrations], dim=1)
        means = torch.stack([part.mean(1) for part in by_class], dim=1)
        return self.sharpness * (forward.reshape(len(queries), -1) + means)

    def _gains(self, pairs: Sequence[tuple[Prefix, ClipWords]]) -> Tensor:
        """Mean clipped gain per word of each clip behind its context: [N]; 0 for a clip without words."""
        for context, clip in pairs:
            self.builder.check(len(context) + len(clip), "a query behind a class's demonstrations")
        if len(self._known) > KEPT:
            self._known.clear()
        new = sorted({clip for _, clip in pairs} - self._known.keys())
        found = self.llm.log_likelihood([*pairs, *((self._empty, clip) for clip in new)])
        self._known.update(zip(new, found[len(pairs) :], strict=True))
        base = [self._known[clip] for _, clip in pairs]
        gains = [(row - was).clamp(min=0) for row, was in zip(found[: len(pairs)], base, strict=True)]
        return torch.stack([gain.sum() / max(1, len(gain)) for gain in gains])
