"""From words and demonstrations to class scores. The language model is only asked for log-likelihoods.

A scorer is fitted once on the demonstrations of every class and then scores any number of queries; what a class's
demonstrations cost is paid once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import Protocol

import torch
from torch import Tensor

from llmcodec.errors import ConfigError
from llmcodec.llm import Prefix
from llmcodec.prompting import PromptBuilder

Ids = list[int]


class Scorer(Protocol):
    """Class scores of queries."""

    def fit(self, demonstrations: Sequence[Sequence[Ids]], labels: Sequence[str]) -> None:
        """demonstrations[c]: the word ids of every clip of class c; labels[c]: what the class is called."""
        ...

    def scores(self, queries: Sequence[Ids]) -> Tensor:
        """Word ids of queries -> float32 [N, C]; the softmax of a row is the probability of each class."""
        ...


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
        self._empty = self.llm.prepare(builder.context([]))
        self._known: dict[tuple[int, ...], Tensor] = {}  # scores in the empty context, kept from fit to fit

    def fit(self, demonstrations: Sequence[Sequence[Ids]], labels: Sequence[str]) -> None:
        """See Scorer."""
        self._demonstrations = [list(clips) for clips in demonstrations]
        self._contexts = [self.llm.prepare(self.builder.context(clips)) for clips in self._demonstrations]

    def scores(self, queries: Sequence[Ids]) -> Tensor:
        """See Scorer."""
        base = self._base(queries)
        forward = torch.stack([_gains(self._score(context, queries), base) for context in self._contexts], dim=1)
        backward = torch.stack([self._backward(query) for query in queries])
        return self.sharpness * (forward + backward)

    def _backward(self, query: Ids) -> Tensor:
        """Mean gain of each class's demonstrations in the context of one query: [C]."""
        every = list(chain.from_iterable(self._demonstrations))
        gains = _gains(self._score(self.llm.prepare(self.builder.context([query])), every), self._base(every))
        return torch.stack([part.mean() for part in gains.split([len(clips) for clips in self._demonstrations])])

    def _base(self, rows: Sequence[Ids]) -> list[Tensor]:
        """Log-likelihoods of the words of each row in the empty context."""
        new = sorted({tuple(row) for row in rows} - self._known.keys())
        self._known.update(zip(new, self._score(self._empty, [list(row) for row in new]), strict=True))
        return [self._known[tuple(row)] for row in rows]

    def _score(self, context: Prefix, rows: Sequence[Ids]) -> list[Tensor]:
        longest = max((len(row) for row in rows), default=0)
        self.builder.check(len(context) + longest, "a query behind a class's demonstrations")
        return self.llm.log_likelihood(context, rows)


class DirectScorer:
    """Which label follows the query? All demonstrations in one prompt, classes in turn, as in UniAudio 1.5.

    The score of a class is the log-likelihood of its label, its tokens summed.
    """

    def __init__(self, builder: PromptBuilder) -> None:
        self.builder, self.llm = builder, builder.llm

    def fit(self, demonstrations: Sequence[Sequence[Ids]], labels: Sequence[str]) -> None:
        """See Scorer."""
        self._labels = list(labels)
        named = [[(clip, label) for clip in clips] for clips, label in zip(demonstrations, labels, strict=True)]
        self._demonstrations = [pair for turn in zip_longest(*named) for pair in turn if pair is not None]
        self._answers = [self.builder.label_ids(label) for label in self._labels]

    def scores(self, queries: Sequence[Ids]) -> Tensor:
        """See Scorer."""
        prompts = [self.builder.direct(self._demonstrations, query, self._labels) for query in queries]
        shared = os.path.commonprefix(prompts)
        shared = shared[: min(len(shared), min(map(len, prompts)) - 1)]
        prefix = self.llm.prepare(shared)
        rows = [prompt[len(shared) :] + answer for prompt in prompts for answer in self._answers]
        found = self.llm.log_likelihood(prefix, rows)
        sums = [
            float(row[-len(answer) :].sum()) for row, answer in zip(found, self._answers * len(queries), strict=True)
        ]
        return torch.tensor(sums).reshape(len(queries), len(self._labels))


SCORERS: dict[str, Callable[[PromptBuilder], Scorer]] = {"channel": ChannelScorer, "direct": DirectScorer}


def build_scorer(name: str, builder: PromptBuilder) -> Scorer:
    """The scorer of that name. ConfigError lists the names there are."""
    if name not in SCORERS:
        raise ConfigError(f"scorer {name!r} is not one of {', '.join(SCORERS)}")
    return SCORERS[name](builder)


def _gains(scores: Sequence[Tensor], base: Sequence[Tensor]) -> Tensor:
    """Mean clipped gain per word of each row: [N]; 0 for a row without words."""
    return torch.stack(
        [(row - was).clamp(min=0).sum() / max(1, len(row)) for row, was in zip(scores, base, strict=True)]
    )
