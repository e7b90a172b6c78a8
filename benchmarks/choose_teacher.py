#!/usr/bin/env python3
"""Which Whisper layer to learn from, and what words to make of it? Measured on training clips, not evaluation sets.

    python benchmarks/choose_teacher.py recipes/words.yaml --data TRAIN --cache CACHE

Labelled parts of the training set are held out: sounds of ESC-10 (grouped by recording) and spoken digits (by speaker).
What the recipe makes of all other clips, with one field changed at a time, is measured on them: accuracy of the nearest
neighbour by mean-pooled standardised features per layer, and by the words that clustered features of the recipe's layer
give. CACHE is the folder of the recipe's feature cache.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common
import numpy as np
import torch

from llmcodec.audio import load_audio
from llmcodec.errors import ConfigError
from llmcodec.evaluation import draw_episodes
from llmcodec.evaluation.baselines import Floats, decide, nearest
from llmcodec.evaluation.dataset import LabelledFolder
from llmcodec.evaluation.provenance import provenance
from llmcodec.models import locate
from llmcodec.teachers import AudioTeacher
from llmcodec.training.cache import FeatureCache
from llmcodec.training.codebooks import TeacherSpace
from llmcodec.training.prepare import cluster, feature_cache, rows_per_word, teacher_space
from llmcodec.training.recipe import Recipe

HELD_OUT = {"sounds": r"esc10/\d+-(\w+)-", "digits": r"fsdd/\d+_([a-z]+)_"}  # file names; the group of a clip
TASKS = (("sounds", 2, 1), ("sounds", 5, 1), ("digits", 5, 5))  # part, ways, shots
CHANGES: tuple[dict[str, Any], ...] = (
    {}, {"caption_dims": 0}, {"context": 0.0}, {"context": 0.4}, {"words": 256}, {"words": 1024},
)  # fmt: skip
Part = tuple[list[int], LabelledFolder]  # places in the cache, and the same clips


def main(argv: Sequence[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--layers", type=int, nargs="*", default=[1, 2, 3, 4, 5, 6])
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    recipe = Recipe.read(arguments.recipe)
    cache, parts, others = held_out(recipe, arguments)
    rows: list[dict[str, Any]] = []
    for layer in arguments.layers:
        teacher = AudioTeacher(locate(recipe.teachers.audio), layer)
        means = {name: standardised_means(teacher, folder.files) for name, (_, folder) in parts.items()}
        rows.append({"layer": layer, **accuracies(means, parts, arguments)})
    for change in CHANGES:
        size = change.get("words", recipe.layers[0].words.size)
        if size is None:
            raise ConfigError(f"{arguments.recipe}: layers.0.words.size is needed here")
        semantic = recipe.semantic.model_copy(update={k: v for k, v in change.items() if k != "words"})
        changed = recipe.model_copy(update={"semantic": semantic})
        space, clips = teacher_space(changed, others)
        _, centroids = cluster(changed, others, space, clips, size)
        counts = {}
        for name, (places, _) in parts.items():
            codes = [words(cache, clip, changed, space, centroids) for clip in places]
            counts[name] = np.sqrt(np.stack([np.bincount(code, minlength=size) for code in codes]))
        setting = {"words": size, "caption_dims": semantic.caption_dims, "context": semantic.context}
        rows.append({"layer": recipe.teachers.audio_layer, **setting, **accuracies(counts, parts, arguments)})
    content = {"recipe": arguments.recipe.name, "clips": {name: len(part) for name, (_, part) in parts.items()}}
    content |= {"episodes": arguments.episodes, "rows": rows, "provenance": provenance(arguments.seed)}
    head = ["layer", "words", "caption_dims", "context", *(key for key in rows[0] if "way" in key)]
    lines = [[f"{row[key]:.3f}" if "way" in key else row.get(key, "") for key in head] for row in rows]
    _common.report(arguments, content, _common.table(head, lines))
    return 0


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments of whoever measures on training clips held out."""
    parser = _common.parser(description)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=2000)
    return parser


def held_out(recipe: Recipe, arguments: argparse.Namespace) -> tuple[FeatureCache, dict[str, Part], FeatureCache]:
    """The cache of all clips, the labelled parts that are held out, and the cache of the others."""
    cache = feature_cache(recipe, arguments.data, arguments.cache)
    parts = {name: labelled(cache, arguments.data, pattern) for name, pattern in HELD_OUT.items()}
    anything = re.compile("|".join(HELD_OUT.values()))
    return cache, parts, cache.part(np.array([not anything.match(clip.file) for clip in cache.clips]))


def accuracies(vectors: dict[str, Floats], parts: dict[str, Part], arguments: argparse.Namespace) -> dict[str, float]:
    """Of the nearest neighbour in every task. vectors: by part, [clips, D]."""
    found = {}
    for name, ways, shots in TASKS:
        folder, score, hits = parts[name][1], nearest(vectors[name]), []
        random = np.random.default_rng(arguments.seed)
        for episode in draw_episodes(folder, ways, shots, arguments.episodes, arguments.seed):
            way = decide(score(episode), random)[0]
            hits.append(episode.labels[way] == folder.labels[episode.queries[0]])
        found[f"{name}, {ways}-way {shots}-shot"] = float(np.mean(hits))
    return found


def labelled(cache: FeatureCache, data: Path, pattern: str) -> Part:
    """The clips whose names match, without the changed copies that follow each in the cache."""
    first = {clip.file: place for place, clip in reversed(list(enumerate(cache.clips))) if re.match(pattern, clip.file)}
    names = sorted(first)
    labels = tuple(cache.clips[first[name]].text for name in names)
    groups = tuple(re.match(pattern, name)[1] for name in names)  # type: ignore[index]
    return [first[n] for n in names], LabelledFolder(data, tuple(data / n for n in names), labels, groups, "name")


def standardised_means(teacher: AudioTeacher, files: Sequence[Path]) -> Floats:
    means = torch.stack([teacher.features([load_audio(file)])[0].mean(0) for file in files]).double().numpy()
    return (means - means.mean(0)) / means.std(0)


def words(cache: FeatureCache, clip: int, recipe: Recipe, space: TeacherSpace, centroids: torch.Tensor) -> Any:
    """What a perfect student of the teacher would say of a clip: int64 [T]."""
    pool = rows_per_word(recipe)
    rows = cache.rows(clip, 0, cache.row_bounds[clip, 1] - cache.row_bounds[clip, 0])
    rows = torch.cat([rows, rows[-1:].expand(-len(rows) % pool, -1)])
    return (space.target(rows[None], pool, recipe.semantic.context)[0] @ centroids.T).argmax(-1).numpy()


if __name__ == "__main__":
    _common.run(main)
