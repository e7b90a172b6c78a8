"""Episode lists of UniAudio 1.5 (*.scp), with the leaks in them refused."""

from __future__ import annotations

import os
from pathlib import Path

from llmcodec.errors import ConfigError
from llmcodec.evaluation.dataset import FILE, LabelledFolder
from llmcodec.evaluation.episodes import Episode


def read_scp(path: str | Path, audio: str | Path) -> tuple[LabelledFolder, list[Episode]]:
    """One episode a line: items `label/file name` with commas between and behind them; the last is the query, the
    others demonstrate. Files lie in the folder `audio`, whatever their label.

    ConfigError names the line: an item that is none, a file that is not there or has two labels, demonstrations that
    differ in number, a query that is also a demonstration or whose label is not demonstrated. (In the list that the
    authors released, the query is a demonstration in 9 of 200 lines.)
    """
    path, root = Path(path), Path(audio)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; a list of episodes is needed") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8 text") from error
    labels: dict[str, str] = {}  # of each file, in the order of the folder made here
    rows: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        names = []
        for item in filter(None, (part.strip() for part in line.split(","))):
            label, slash, name = item.rpartition("/")
            if not (slash and label and name) or "/" in label:
                raise ConfigError(f"{path}: line {number}: {item!r} is no label/file")
            if not os.path.isfile(root / name):
                raise ConfigError(f"{path}: line {number}: {name}: no such audio file in {root}")
            if labels.setdefault(name, label) != label:
                raise ConfigError(f"{path}: line {number}: {name} is {label} here and {labels[name]} before")
            names.append(name)
        if names:
            rows.append((number, names))
    if not rows:
        raise ConfigError(f"{path}: holds no episodes")
    places = {name: place for place, name in enumerate(labels)}
    groups = tuple(str(place) for place in places.values())
    folder = LabelledFolder(root, tuple(root / name for name in labels), tuple(labels.values()), groups, FILE)
    return folder, [_episode(names, labels, places, f"{path}: line {number}") for number, names in rows]


def _episode(names: list[str], labels: dict[str, str], places: dict[str, int], where: str) -> Episode:
    *shown, query = names
    by_label: dict[str, list[int]] = {}
    for name in shown:
        by_label.setdefault(labels[name], []).append(places[name])
    if query in shown:
        raise ConfigError(f"{where}: the query {query} is a demonstration too")
    if len(by_label) < 2 or len({len(clips) for clips in by_label.values()}) > 1:
        raise ConfigError(f"{where}: needs two labels or more with equally many demonstrations, at least one")
    if labels[query] not in by_label:
        raise ConfigError(f"{where}: the query {query} has the label {labels[query]!r}, which is not demonstrated")
    return Episode(tuple(by_label), tuple(map(tuple, by_label.values())), (places[query],))
