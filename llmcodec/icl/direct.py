"""`direct` and `paper`: all demonstrations in one prompt, and the model says the label."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import TypeVar

import torch
from torch import Tensor

from llmcodec.icl.base import BATCH, Ids
from llmcodec.llm import Schedule
from llmcodec.prompting import ClipWords, PromptBuilder, load_template

Named = TypeVar("Named")  # a clip's words and its label


class DirectScorer:
    """Which label follows the query? All demonstrations in one prompt, classes in turn, as in UniAudio 1.5.

    The score of a class is the log-likelihood of its label, its tokens summed, averaged over `orders` prompts each of
    which begins with another class. In each the demonstrations stand `repeats` times. What the model would say of
    anything is taken off by `calibration`:

    - "context": the mean probability behind queries that mean nothing: the demonstrations' words shuffled, and words
      drawn at random (Zhao et al., 2021)
    - "batch": the mean score over the queries that are scored together (Zhou et al., 2024); one alone stays as it is
    """

    def __init__(
        self, builder: PromptBuilder, calibration: str | None = None, orders: int = 1, repeats: int = 1
    ) -> None:
        self.builder, self.llm = builder, builder.llm
        self.calibration, self.orders, self.repeats = calibration, orders, repeats

    def fit(self, demonstrations: Sequence[Sequence[ClipWords]], labels: Sequence[str]) -> None:
        """See Scorer."""
        self._labels = list(labels)
        self._answers = [self.builder.label_ids(label) for label in self._labels]
        named = [[(clip, label) for clip in clips] for clips, label in zip(demonstrations, labels, strict=True)]
        starts = range(min(self.orders, len(named)))
        self._prompts = [in_turn([*named[start:], *named[:start]]) * self.repeats for start in starts]
        self._bias = torch.zeros(len(labels))
        if self.calibration == "context":
            nothing = _meaningless(demonstrations, list(self.builder.words))
            self._bias = self._likelihoods(nothing).logsumexp(0) - math.log(len(nothing))

    def scores(self, queries: Sequence[ClipWords]) -> Tensor:
        """See Scorer."""
        if not queries:
            return torch.zeros(0, len(self._labels))
        found = self._likelihoods(queries) - self._bias
        return found - found.mean(0) if self.calibration == "batch" and len(queries) > 1 else found

    def _likelihoods(self, queries: Sequence[Sequence[int]]) -> Tensor:
        """Log-likelihood of every label behind every query: [N, C]."""
        return torch.stack([self._after(demonstrations, queries) for demonstrations in self._prompts]).mean(0)

    def _after(self, demonstrations: Sequence[tuple[Sequence[int], str]], queries: Sequence[Sequence[int]]) -> Tensor:
        shared, rests = _split([self.builder.direct(demonstrations, query, self._labels) for query in queries])
        prefix, sums = self.llm.prepare([shared])[0], []
        for start in range(0, len(rests), BATCH):
            asked = self.llm.extend([(prefix, rest) for rest in rests[start : start + BATCH]])
            found = self.llm.log_likelihood([(one, answer) for one in asked for answer in self._answers])
            sums += [row.sum() for row in found]
        return torch.stack(sums).reshape(len(queries), len(self._answers))


class PaperScorer:
    """The few-shot protocol of UniAudio 1.5 as its authors released it, for comparison.

    Of every clip the first ten words (a second, in the published codec); all demonstrations in one prompt; then the
    likeliest token, step by step, among those that any label has at that step, so that labels can mix. A class scores 1
    if what was written begins with its label, else 0.
    """

    WORDS = 10

    def __init__(self, builder: PromptBuilder) -> None:
        self.builder, self.llm = builder.like(load_template("paper")), builder.llm

    def fit(self, demonstrations: Sequence[Sequence[ClipWords]], labels: Sequence[str]) -> None:
        """See Scorer."""
        self._labels = list(labels)
        self._answers = [self.builder.label_ids(label) for label in self._labels]
        tables = tuple(tuple(sorted(set(tokens) - {None})) for tokens in zip_longest(*self._answers))
        self._schedule = Schedule(tables, tuple(range(len(tables))))
        self._demonstrations = in_turn(
            [
                [(clip[: self.WORDS], label) for clip in clips]
                for clips, label in zip(demonstrations, labels, strict=True)
            ]
        )

    def scores(self, queries: Sequence[ClipWords]) -> Tensor:
        """See Scorer."""
        if not queries:
            return torch.zeros(0, len(self._labels))
        shared, rests = _split(
            [self.builder.direct(self._demonstrations, query[: self.WORDS], self._labels) for query in queries]
        )
        prefix, said = self.llm.prepare([shared])[0], []
        for start in range(0, len(rests), BATCH):
            asked = self.llm.extend([(prefix, rest) for rest in rests[start : start + BATCH]])
            said += [list(found.ids) for (found,) in self.llm.generate([(one, self._schedule) for one in asked])]
        return torch.tensor([[float(row[: len(answer)] == answer) for answer in self._answers] for row in said])


def in_turn(named: Sequence[Sequence[Named]]) -> list[Named]:
    """One demonstration of each class, then the second ones, ..."""
    return [pair for turn in zip_longest(*named) for pair in turn if pair is not None]


def _split(prompts: Sequence[Ids]) -> tuple[Ids, list[Ids]]:
    """What all prompts begin with, and what is left of each: one token at least."""
    length = min(len(os.path.commonprefix([*prompts])), min(map(len, prompts)) - 1)
    return prompts[0][:length], [prompt[length:] for prompt in prompts]


def _meaningless(demonstrations: Sequence[Sequence[ClipWords]], words: Ids) -> list[Ids]:
    """Two rows of the demonstrations' words shuffled and two of any words, as long as a demonstration; seeded."""
    draw = random.Random(0)
    clips = list(chain.from_iterable(demonstrations))
    held = list(chain.from_iterable(clips)) or words
    length = max(1, round(sum(map(len, clips)) / len(clips)))
    return [draw.choices(pool, k=length) for pool in (held, held, words, words)]
