"""From words and demonstrations to class scores. The language model is only asked for probabilities.

A scorer is fitted once on the demonstrations of every class and then scores any number of queries; what a class's
demonstrations cost is paid once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from llmcodec.codec import WordSpace
from llmcodec.errors import ConfigError
from llmcodec.icl.base import Scorer
from llmcodec.icl.channel import ChannelScorer
from llmcodec.icl.direct import DirectScorer, PaperScorer
from llmcodec.icl.neighbour import NeighbourScorer
from llmcodec.prompting import ClipWords, PromptBuilder, load_template


class EnsembleScorer:
    """The mean of the log-probabilities that several scorers give."""

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        self.scorers = scorers

    def fit(self, demonstrations: Sequence[Sequence[ClipWords]], labels: Sequence[str]) -> None:
        """See Scorer."""
        for scorer in self.scorers:
            scorer.fit(demonstrations, labels)

    def scores(self, queries: Sequence[ClipWords]) -> Tensor:
        """See Scorer."""
        return torch.stack([scorer.scores(queries).log_softmax(-1) for scorer in self.scorers]).mean(0)


def _worded(builder: PromptBuilder, **wording: str) -> PromptBuilder:
    return builder.like(builder.template.model_copy(update=wording))


def _wordings(builder: PromptBuilder) -> list[PromptBuilder]:
    """The template's prompt, without its instruction, and in the words of the published one."""
    published = load_template("paper").model_dump(include={"instruction", "demonstration", "query"})
    return [builder, _worded(builder, instruction=""), _worded(builder, **published)]


SCORERS: dict[str, Callable[[PromptBuilder, WordSpace], Scorer]] = {
    "knn": NeighbourScorer,
    "channel": lambda builder, space: ChannelScorer(builder),
    "ensemble": lambda builder, space: EnsembleScorer([NeighbourScorer(builder, space), ChannelScorer(builder)]),
    "direct": lambda builder, space: DirectScorer(builder),
    "direct-orders": lambda builder, space: DirectScorer(builder, orders=4),
    "direct-repeats": lambda builder, space: DirectScorer(builder, repeats=2),
    "direct-bare": lambda builder, space: DirectScorer(_worded(builder, instruction="")),
    "direct-prompts": lambda builder, space: EnsembleScorer([DirectScorer(b) for b in _wordings(builder)]),
    "direct-context": lambda builder, space: DirectScorer(builder, calibration="context"),
    "direct-batch": lambda builder, space: DirectScorer(builder, calibration="batch"),
    "paper": lambda builder, space: PaperScorer(builder),
}


def build_scorer(name: str, builder: PromptBuilder, space: WordSpace) -> Scorer:
    """The scorer of that name. space: the layers of the builder's template. ConfigError lists the names there are."""
    if name not in SCORERS:
        raise ConfigError(f"scorer {name!r} is not one of {', '.join(SCORERS)}")
    return SCORERS[name](builder, space)
