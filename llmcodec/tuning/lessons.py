"""Lessons: rows of labelled clips, each of which could be named from those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from llmcodec.errors import ConfigError, PromptError
from llmcodec.evaluation.dataset import LabelledFolder
from llmcodec.prompting import ClipWords, PromptBuilder

IGNORED = -100  # what transformers leaves out of the loss


class Lessons(Dataset[dict[str, Tensor]]):
    """`count` prompts in the form of the scorer `direct`, drawn by `seed` and their number alone.

    A lesson shows one clip of each of some classes (`ways`, drawn from those given), then clips of any of them, `shots`
    more for each class on average, until `tokens` are full. Those count whose class was shown before. The labels are
    exchanged among the classes of a lesson at random, so that only what is shown can tell them (symbol tuning: Wei et
    al., 2023). No two clips of a class share a group.

    words: those of every clip, by its position in `folder`. Items are {"input_ids", "labels"}, int64 [T].
    Raises ConfigError: more ways than classes with clips of two groups; PromptError: `tokens` hold too few clips.
    """

    def __init__(
        self,
        folder: LabelledFolder,
        words: Mapping[int, ClipWords],
        builder: PromptBuilder,
        count: int,
        ways: Sequence[int] = (2, 3, 5),
        shots: int = 3,
        tokens: int = 1024,
        seed: int = 0,
    ) -> None:
        self.folder, self.words, self.builder, self.count = folder, words, builder, count
        self.ways, self.shots, self.seed = tuple(ways), shots, seed
        self.limit = min(tokens, builder.llm.max_context)
        self.clips: dict[str, list[int]] = {}
        for name in folder.classes:
            clips = [clip for clip, label in enumerate(folder.labels) if label == name]
            if len({folder.groups[clip] for clip in clips}) > 1:
                self.clips[name] = clips
        if not 2 <= min(self.ways) <= max(self.ways) <= len(self.clips):
            raise ConfigError(
                f"ways must lie between 2 and {len(self.clips)}, the labels of {folder.root} with clips of two groups "
                f"by {folder.group_by} or more, not {', '.join(map(str, self.ways))}"
            )
        longest = max(words.values(), key=len)
        shown = [(longest, name) for name in sorted(self.clips, key=len)[-max(self.ways) :]]
        if len(builder.lesson([*shown, shown[-1]], self.limit)[1]) <= len(shown):
            raise PromptError(
                f"{self.limit} tokens do not hold {len(shown) + 1} of the longest clips, {len(longest)} words each; "
                "use shorter clips, fewer ways, fewer layers or more tokens"
            )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        if not 0 <= number < self.count:
            raise IndexError(number)
        random = np.random.default_rng([self.seed, number])
        ways = int(random.choice(self.ways))
        classes = [str(name) for name in random.choice(sorted(self.clips), ways, replace=False)]
        called = dict(zip(classes, random.permutation(classes).tolist(), strict=True))
        rows = self._draw(classes, random)
        ids, places = self.builder.lesson([(self.words[clip], called[name]) for clip, name in rows], self.limit)
        labels = [IGNORED] * len(ids)
        for place in places[ways:]:
            labels[place] = ids[place]
        return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)}

    def _draw(self, classes: Sequence[str], random: np.random.Generator) -> list[tuple[int, str]]:
        """Clips, and their classes, in the order of the lesson."""
        names = [*classes, *random.choice(classes, len(classes) * self.shots).tolist()]
        left = {name: random.permutation(self.clips[name]).tolist() for name in classes}
        rows: list[tuple[int, str]] = []
        for name in names:
            if not left[name]:
                continue
            clip = left[name].pop()
            left[name] = [other for other in left[name] if self.folder.groups[other] != self.folder.groups[clip]]
            rows.append((clip, name))
        return rows


def hold_out_labels(folder: LabelledFolder, share: float, seed: int) -> tuple[LabelledFolder, LabelledFolder | None]:
    """Split the labels at random: clips to learn from, and clips of the `share` of labels kept for a test (0: None).

    ConfigError: fewer than two labels on a side.
    """
    names = np.random.default_rng(seed).permutation(folder.classes).tolist()
    count = round(share * len(names))
    if (share and count < 2) or len(names) - count < 2:
        raise ConfigError(
            f"{folder.root}: {len(names)} labels, {count} of them held out, leave fewer than two on a side; "
            "change the share or add labels"
        )
    held = set(names[:count])
    learned = folder.subset(clip for clip, label in enumerate(folder.labels) if label not in held)
    if not held:
        return learned, None
    return learned, folder.subset(clip for clip, label in enumerate(folder.labels) if label in held)
