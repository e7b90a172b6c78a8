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
from torch import Tensor, nn

from llmcodec.errors import ConfigError
from llmcodec.llm import Prefix
from llmcodec.prompting import PromptBuilder

Ids = list[int]
BATCH = 8  # queries whose own contexts are in memory at once
KEPT = 4096  # clips that are not read again


class Scorer(Protocol):
    """Class scores of queries."""

    def fit(self, demonstrations: Sequence[Sequence[Ids]], labels: Sequence[str]) -> None:
        """demonstrations[c]: the word ids of every clip of class c; labels[c]: what the class is called."""
        ...

    def scores(self, queries: Sequence[Ids]) -> Tensor:
        """Word ids of queries -> float32 [N, C]; the softmax of a row is the probability of each class."""
        ...


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
        self._places = {token: place for place, token in enumerate(builder.word_tokens)}
        self._known: dict[tuple[int, ...], Tensor] = {}  # clips as read, kept from fit to fit

    def fit(self, demonstrations: Sequence[Sequence[Ids]], labels: Sequence[str]) -> None:
        """See Scorer."""
        by_class = [self._read(clips) for clips in demonstrations]
        self._classes = nn.functional.normalize(torch.stack([rows.mean(0) for rows in by_class]))
        self._scale = fitted_sharpness(by_class, self.sharpness)

    def scores(self, queries: Sequence[Ids]) -> Tensor:
        """See Scorer."""
        return self._scale * self._read(queries) @ self._classes.T

    def _read(self, clips: Sequence[Ids]) -> Tensor:
        """Square roots of the distributions of clips: [N, words]."""
        if len(self._known) > KEPT:
            self._known.clear()
        new = sorted({tuple(clip) for clip in clips} - self._known.keys())
        for clip in new:
            self.builder.check(len(self._empty) + len(clip), "a clip")
        expected = self.llm.expected([(self._empty, clip) for clip in new], list(self._places))
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
        self._known: dict[tuple[int, ...], Tensor] = {}  # scores in the empty context, kept from fit to fit

    def fit(self, demonstrations: Sequence[Sequence[Ids]], labels: Sequence[str]) -> None:
        """See Scorer."""
        self._demonstrations = [list(clips) for clips in demonstrations]
        self._contexts = self.llm.prepare([self.builder.context(clips) for clips in self._demonstrations])

    def scores(self, queries: Sequence[Ids]) -> Tensor:
        """See Scorer."""
        parts = [self._scores(queries[start : start + BATCH]) for start in range(0, len(queries), BATCH)]
        return torch.cat(parts) if parts else torch.zeros(0, len(self._contexts))

    def _scores(self, queries: Sequence[Ids]) -> Tensor:
        every = list(chain.from_iterable(self._demonstrations))
        as_contexts = self.llm.prepare([self.builder.context([query]) for query in queries])
        forward = self._gains([(context, query) for query in queries for context in self._contexts])
        backward = self._gains([(context, clip) for context in as_contexts for clip in every])
        by_class = backward.reshape(len(queries), -1).split([len(clips) for clips in self._demonstrations], dim=1)
        means = torch.stack([part.mean(1) for part in by_class], dim=1)
        return self.sharpness * (forward.reshape(len(queries), -1) + means)

    def _gains(self, pairs: Sequence[tuple[Prefix, Ids]]) -> Tensor:
        """Mean clipped gain per word of each clip behind its context: [N]; 0 for a clip without words."""
        for context, clip in pairs:
            self.builder.check(len(context) + len(clip), "a query behind a class's demonstrations")
        if len(self._known) > KEPT:
            self._known.clear()
        new = sorted({tuple(clip) for _, clip in pairs} - self._known.keys())
        found = self.llm.log_likelihood([*pairs, *((self._empty, clip) for clip in new)])
        self._known.update(zip(new, found[len(pairs) :], strict=True))
        base = [self._known[tuple(clip)] for _, clip in pairs]
        gains = [(row - was).clamp(min=0) for row, was in zip(found[: len(pairs)], base, strict=True)]
        return torch.stack([gain.sum() / max(1, len(gain)) for gain in gains])


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
        if not queries:
            return torch.zeros(0, len(self._labels))
        prompts = [self.builder.direct(self._demonstrations, query, self._labels) for query in queries]
        shared = os.path.commonprefix(prompts)
        shared = shared[: min(len(shared), min(map(len, prompts)) - 1)]
        prefix = self.llm.prepare([shared])[0]
        rows = [prompt[len(shared) :] + answer for prompt in prompts for answer in self._answers]
        found = self.llm.log_likelihood([(prefix, row) for row in rows])
        sums = [
            float(row[-len(answer) :].sum()) for row, answer in zip(found, self._answers * len(queries), strict=True)
        ]
        return torch.tensor(sums).reshape(len(queries), len(self._labels))


SCORERS: dict[str, Callable[[PromptBuilder], Scorer]] = {
    "knn": NeighbourScorer,
    "channel": ChannelScorer,
    "direct": DirectScorer,
}


def build_scorer(name: str, builder: PromptBuilder) -> Scorer:
    """The scorer of that name. ConfigError lists the names there are."""
    if name not in SCORERS:
        raise ConfigError(f"scorer {name!r} is not one of {', '.join(SCORERS)}")
    return SCORERS[name](builder)
