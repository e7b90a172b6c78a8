#!/usr/bin/env python3
"""Which Whisper layer to learn from, and how many words? Measured on labelled training clips, never on evaluation sets.

    python benchmarks/choose_teacher.py --data TRAIN --pattern 'esc10/*' --out benchmarks/results/choose_teacher.json

Nearest-neighbour accuracy, one demonstration a class, of mean-pooled standardised features per layer, and of the words
that clustered features of --layer give. Query and demonstrations share no recording: the second part of an ESC name.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common
import numpy as np
import torch
from torch import Tensor

from llmcodec.audio import load_audio
from llmcodec.evaluation import draw_episodes
from llmcodec.evaluation.baselines import Floats, nearest
from llmcodec.evaluation.dataset import LabelledFolder
from llmcodec.evaluation.provenance import provenance
from llmcodec.models import locate
from llmcodec.teachers import AudioTeacher
from llmcodec.training.cache import pool
from llmcodec.training.codebooks import fit_teacher_space, spherical_kmeans
from llmcodec.training.sources import open_source

ROUNDS = 15


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pattern", default="esc10/*", help="file names of the labelled clips")
    parser.add_argument("--whisper", default="openai/whisper-base")
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--layer", type=int, default=3, help="whose features are clustered")
    parser.add_argument("--words", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--dims", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--context", type=float, nargs="+", default=[0.0, 0.15, 0.4])
    parser.add_argument("--episodes", type=int, default=2000)
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)

    clips = [clip for clip in open_source(arguments.data).clips if fnmatch.fnmatch(clip.file, arguments.pattern)]
    files = tuple(arguments.data / clip.file for clip in clips)
    recordings = tuple(file.stem.split("-")[1] for file in files)
    folder = LabelledFolder(arguments.data, files, tuple(clip.text for clip in clips), recordings, "recording")
    waves = [load_audio(file) for file in files]

    def accuracies(vectors: Floats) -> dict[str, float]:
        score = nearest(vectors)
        found = {}
        for ways in (2, 5):
            episodes = draw_episodes(folder, ways, 1, arguments.episodes, arguments.seed)
            hits = [score(e)[0, :, 0].argmax() == e.labels.index(folder.labels[e.queries[0]]) for e in episodes]
            found[f"{ways}-way"] = float(np.mean(hits))
        return found

    rows: list[dict[str, Any]] = []
    for layer in arguments.layers:
        features = teacher_rows(arguments.whisper, layer, waves)
        means = torch.stack([row.mean(0) for row in features]).double().numpy()
        rows.append({"layer": layer, **accuracies((means - means.mean(0)) / means.std(0))})
    features = teacher_rows(arguments.whisper, arguments.layer, waves)
    for dims in arguments.dims:
        space = fit_teacher_space(torch.cat(features), dims, 2)
        for context in arguments.context:
            targets = [space.target(row[None, : len(row) // 2 * 2], 2, context)[0] for row in features]
            for words in arguments.words:
                centroids = spherical_kmeans(torch.cat(targets), words, ROUNDS, arguments.seed)
                codes = [(target @ centroids.T).argmax(-1).numpy() for target in targets]
                counts = np.sqrt(np.stack([np.bincount(code, minlength=words) for code in codes]))
                setting = {"layer": arguments.layer, "dims": dims, "context": context, "words": words}
                rows.append({**setting, **accuracies(counts)})

    content = {"data": arguments.pattern, "clips": len(clips), "episodes": arguments.episodes, "rows": rows}
    head = ["layer", "dims", "context", "words", "2-way", "5-way"]
    lines = [[f"{row[key]:.3f}" if "way" in key else row.get(key, "") for key in head] for row in rows]
    _common.report(arguments, {**content, "provenance": provenance(arguments.seed)}, _common.table(head, lines))
    return 0


def teacher_rows(whisper: str, layer: int, waves: Sequence[Tensor]) -> list[Tensor]:
    """Features [T, dim] of each clip at the rate of the feature cache."""
    teacher = AudioTeacher(locate(whisper), layer)
    return [pool(teacher.features([wave])[0]) for wave in waves]


if __name__ == "__main__":
    _common.run(main)
