"""Few-shot episodes: which clips demonstrate, and which are asked about."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from llmcodec import formats
from llmcodec.errors import ConfigError
from llmcodec.evaluation.dataset import LabelledFolder
from llmcodec.evaluation.provenance import read_json, write_text

_FORMAT = "llmcodec-episodes-1"


@dataclass(frozen=True)
class Episode:
    """One task. Clips are positions in a LabelledFolder.

    labels: the classes to choose from, in random order; demonstrations[i]: the clips that demonstrate labels[i];
    queries: the clips to name.
    """

    labels: tuple[str, ...]
    demonstrations: tuple[tuple[int, ...], ...]
    queries: tuple[int, ...]

    @property
    def clips(self) -> tuple[int, ...]:
        return (*(clip for clips in self.demonstrations for clip in clips), *self.queries)


def draw_episodes(
    folder: LabelledFolder, ways: int, shots: int, episodes: int, seed: int, queries: int = 1
) -> list[Episode]:
    """Draw `episodes` tasks of `ways` classes with `shots` demonstrations each; the same for the same seed.

    queries: clips asked about with the same demonstrations. With `queries` <= `ways`, the numbers of queries of any two
    classes differ by at most one over all episodes. No query shares a group with any demonstration of its episode; the
    demonstrations of a class come from different groups where there are enough.

    Raises ConfigError: a number below its minimum, more ways than classes, a class with too few clips or groups.
    """
    for name, value, least in (
        ("ways", ways, 2), ("shots", shots, 1), ("episodes", episodes, 1), ("queries", queries, 1),
    ):  # fmt: skip
        if value < least:
            raise ConfigError(f"{name} is {value}; it must be {least} or more")
    if ways > len(folder.classes):
        raise ConfigError(f"{ways} ways need as many labels; {folder.root} has {len(folder.classes)}")
    draw = _Draw(folder, shots, np.random.default_rng(seed))
    return [draw.episode(ways, queries) for _ in range(episodes)]


class _Draw:
    def __init__(self, folder: LabelledFolder, shots: int, random: np.random.Generator) -> None:
        self.folder, self.shots, self.random = folder, shots, random
        self.clips = {name: [n for n, label in enumerate(folder.labels) if label == name] for name in folder.classes}
        self.sizes = {name: Counter(folder.groups[clip] for clip in clips) for name, clips in self.clips.items()}
        self.asked = dict.fromkeys(folder.classes, 0)
        for name, sizes in self.sizes.items():
            if sizes.total() - min(sizes.values()) < shots:
                raise self._too_few(name)

    def episode(self, ways: int, queries: int) -> Episode:
        by_need = sorted(self._shuffled(self.folder.classes), key=self.asked.__getitem__)
        asked = min(queries, ways)
        rest = self._shuffled(by_need[asked:])[: ways - asked]
        labels = self._shuffled([*by_need[:asked], *rest])
        chosen: list[int] = []
        for _ in range(queries):
            name = min(self._shuffled(labels), key=self.asked.__getitem__)
            chosen.append(self._query(name, labels, chosen))
            self.asked[name] += 1
        used = {self.folder.groups[clip] for clip in chosen}
        return Episode(tuple(labels), tuple(self._demonstrations(name, used) for name in labels), tuple(chosen))

    def _query(self, name: str, labels: Sequence[str], before: Sequence[int]) -> int:
        """A clip of class `name` that leaves enough clips of every class outside the groups of all queries."""
        used = {self.folder.groups[clip] for clip in before}
        short = name
        for clip in self._shuffled(self.clips[name]):
            groups = used | {self.folder.groups[clip]}
            lacking = [label for label in labels if self._left(label, groups) < self.shots]
            if clip not in before and not lacking:
                return clip
            short = lacking[0] if lacking else short
        raise self._too_few(short)

    def _demonstrations(self, name: str, used: set[str]) -> tuple[int, ...]:
        """`shots` clips of a class, first one of each group, then the second ones, ..."""
        seen: Counter[str] = Counter()
        ranked = []
        for clip in self._shuffled([clip for clip in self.clips[name] if self.folder.groups[clip] not in used]):
            ranked.append((seen[self.folder.groups[clip]], clip))
            seen[self.folder.groups[clip]] += 1
        ranked.sort(key=lambda pair: pair[0])
        return tuple(clip for _, clip in ranked[: self.shots])

    def _left(self, name: str, groups: Iterable[str]) -> int:
        return len(self.clips[name]) - sum(self.sizes[name][group] for group in groups)

    def _shuffled(self, items: Sequence) -> list:  # type: ignore[type-arg]
        return [items[place] for place in self.random.permutation(len(items))]

    def _too_few(self, name: str) -> ConfigError:
        groups, by = len(self.sizes[name]), self.folder.group_by
        return ConfigError(
            f"{self.folder.root}: label {name!r} has too few clips: {len(self.clips[name])} in {groups} "
            f"group{'s' * (groups != 1)} by {by}, but {self.shots} must lie in other groups than the query; "
            "add clips, lower the shots or group by another column"
        )


class _StoredEpisode(BaseModel):
    model_config = ConfigDict(extra="forbid")
    demonstrations: dict[str, list[str]]
    queries: list[str]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")
    format: str
    episodes: list[_StoredEpisode]


def save_episodes(path: str | Path, folder: LabelledFolder, episodes: Iterable[Episode]) -> None:
    """Write episodes as JSON: file names relative to the folder, demonstrations by label. Whole or not at all."""
    names = folder.names
    rows = [
        {
            "demonstrations": {
                label: [names[clip] for clip in clips]
                for label, clips in zip(episode.labels, episode.demonstrations, strict=True)
            },
            "queries": [names[clip] for clip in episode.queries],
        }
        for episode in episodes
    ]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    write_text(path, f'{{"format": "{_FORMAT}", "episodes": [\n{lines}\n]}}\n')


def load_episodes(path: str | Path, folder: LabelledFolder) -> list[Episode]:
    """Read what `save_episodes` (or a person) wrote, for the same clips.

    Raises ConfigError that names the episode (from 1): a file that the folder does not have, one of another label, a
    query that shares a group with a demonstration, numbers of demonstrations that differ, or no queries.
    """
    content = read_json(path)
    if fault := formats.fault(content.get("format"), _FORMAT):
        raise ConfigError(f"{path}: {fault}")
    try:
        stored = _Stored.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from error
    if not stored.episodes:
        raise ConfigError(f"{path}: holds no episodes; at least one is needed")
    places = {name: place for place, name in enumerate(folder.names)}
    return [_checked(row, folder, places, f"{path}: episode {n}") for n, row in enumerate(stored.episodes, 1)]


def _checked(row: _StoredEpisode, folder: LabelledFolder, places: dict[str, int], where: str) -> Episode:
    for name in [name for names in (*row.demonstrations.values(), row.queries) for name in names]:
        if name not in places:
            raise ConfigError(f"{where}: {name} is not among the {len(places)} clips of {folder.root}")
    for label, names in row.demonstrations.items():
        for name in names:
            if folder.labels[places[name]] != label:
                raise ConfigError(f"{where}: {name} has the label {folder.labels[places[name]]!r}, not {label!r}")
    shots = {len(names) for names in row.demonstrations.values()}
    if len(row.demonstrations) < 2 or len(shots) > 1 or 0 in shots:
        raise ConfigError(f"{where}: needs two labels or more with equally many demonstrations, at least one")
    episode = Episode(
        tuple(row.demonstrations),
        tuple(tuple(places[name] for name in names) for names in row.demonstrations.values()),
        tuple(places[name] for name in row.queries),
    )
    if not episode.queries:
        raise ConfigError(f"{where}: needs at least one query")
    shown = {folder.groups[clip] for clips in episode.demonstrations for clip in clips}
    for name, clip in zip(row.queries, episode.queries, strict=True):
        if folder.labels[clip] not in episode.labels:
            raise ConfigError(f"{where}: query {name} has the label {folder.labels[clip]!r}, which is not demonstrated")
        if folder.groups[clip] in shown:
            raise ConfigError(f"{where}: query {name} shares its {folder.group_by} with a demonstration")
    return episode


def _explain(error: ValidationError) -> str:
    mistake = error.errors()[0]
    place = [str(part + 1) if isinstance(part, int) else str(part) for part in mistake["loc"]]
    if place[:1] == ["episodes"] and len(place) > 1:
        place[:2] = [f"episode {place[1]}"]
    return ": ".join([*place, mistake["msg"]])
