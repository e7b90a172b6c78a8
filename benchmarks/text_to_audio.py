#!/usr/bin/env python3
"""Sounds made from their names by demonstration: how far are they from real ones?

    python benchmarks/text_to_audio.py --data FOLDER --out benchmarks/results/text_to_audio.json

FOLDER is a labelled folder. Half of the groups (recordings, ...) are demonstrated, the others are the reference. The
embedding is the mean of Whisper's sixth encoder layer, not the VGGish or PANNs of published FAD and KL: figures compare
the rows of this table, nothing else. FAD: Frechet distance of the embeddings, covariances shrunk (Ledoit-Wolf). KL: of
the class probabilities that a linear probe on the reference gives a clip of the name and what was made for it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common
import numpy as np
from _generation_tables import text_to_audio_table
from _page import write_page
from scipy.linalg import sqrtm
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from llmcodec.audio import load_audio
from llmcodec.errors import ConfigError
from llmcodec.evaluation import read_labelled
from llmcodec.evaluation.baselines import Floats
from llmcodec.evaluation.metrics import bootstrap
from llmcodec.evaluation.provenance import provenance
from llmcodec.generation import FewShotGenerator
from llmcodec.llm import Sampling, load_llm
from llmcodec.models import locate
from llmcodec.teachers import AudioTeacher

LAYER = 6  # of Whisper's encoder, the last of its base size


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--group-by", metavar="COLUMN", help="default: recording, speaker or voice, else file")
    parser.add_argument("--llm", help="folder, hub id, or a name below $LLMCODEC_MODELS")
    parser.add_argument("--shots", type=int, default=3, help="demonstrations of each label")
    parser.add_argument("--each", type=int, default=4, help="clips made of each label")
    parser.add_argument("--seconds", type=float, default=2.0, help="of every clip")
    parser.add_argument("--whisper", default="openai/whisper-base", help="model of the embedding")
    parser.add_argument("--page", type=Path, help="write players, spectrograms and words of some clips here")
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    folder = read_labelled(arguments.data, arguments.group_by)
    codec, named = _common.load_codec(arguments.codec)
    llm, teacher = load_llm(arguments.llm and locate(arguments.llm)), AudioTeacher(locate(arguments.whisper), LAYER)
    draw, size = random.Random(arguments.seed), round(arguments.seconds * codec.sample_rate)
    shown, held = halves(folder.labels, folder.groups, draw)

    def beginning(clip: int) -> Tensor:
        return load_audio(folder.files[clip], codec.sample_rate)[:size]

    picked = {label: draw.sample(clips, min(arguments.shots, len(clips))) for label, clips in shown.items()}
    pairs = [(label, n) for label, clips in picked.items() for n in clips]
    generator = FewShotGenerator(codec, llm, "sound")
    generator.fit([label for label, _ in pairs], [beginning(n) for _, n in pairs])
    made: dict[str, list[tuple[str, Tensor]]] = {name: [] for name in ("generated", "codec resynthesis")}
    with _common.progress() as tell:
        for number in range(arguments.each):
            generator.sampling = Sampling(temperature=0.8, seed=arguments.seed + number)
            for label in held:
                made["generated"].append((label, generator.generate(label, arguments.seconds).wave))
                wave = beginning(held[label][number % len(held[label])])
                made["codec resynthesis"].append((label, codec.decode(codec.encode(wave))[0]))
                tell("generate", len(made["generated"]), arguments.each * len(held))
    names = [label for label, _ in made["generated"]]
    mixed = draw.sample([wave for _, wave in made["generated"]], len(names))
    made["generated, labels shuffled"] = list(zip(names, mixed, strict=True))
    known = [(label, n) for label, clips in held.items() for n in clips]
    real = embed(teacher, [beginning(n) for _, n in known])
    probe = LogisticRegression(max_iter=2000, C=1.0).fit(real, [label for label, _ in known])
    means = {label: probe.predict_proba(real[[one == label for one, _ in known]]).mean(0) for label in held}
    rows = []
    for name, clips in made.items():
        found = embed(teacher, [wave for _, wave in clips])
        wanted = np.stack([means[label] for label, _ in clips])
        divergence = (wanted * np.log(wanted / probe.predict_proba(found).clip(1e-12))).sum(1)
        kl = bootstrap(divergence, arguments.seed)
        rows.append({"what": name, "FAD": frechet(real, found), "KL": kl.value, "low": kl.low, "high": kl.high})
    content: dict[str, Any] = {
        "codec": named,
        "llm": llm.name,
        "embedding": Path(arguments.whisper).name,
        "data": arguments.data.resolve().name,
        "clips": len(names),
        "rows": rows,
        "provenance": provenance(arguments.seed),
    }
    if arguments.page:
        examples = [
            {"title": f"{label}: {name}", "wave": wave}
            for name in ("generated", "codec resynthesis")
            for label, wave in made[name][: len(held)]
        ]
        examples.sort(key=lambda example: str(example["title"]))
        write_page(arguments.page, f"Sounds from their names, {llm.name}", content["provenance"], examples, codec)
    _common.report(arguments, content, text_to_audio_table(content))
    return 0


def halves(
    labels: Sequence[str], groups: Sequence[str], draw: random.Random
) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Clips of each label to be shown, and others that share no group with them. ConfigError: a label has one group."""
    shown: dict[str, list[int]] = {}
    held: dict[str, list[int]] = {}
    for label in sorted(set(labels)):
        own = sorted({group for group, name in zip(groups, labels, strict=True) if name == label})
        if len(own) < 2:
            raise ConfigError(f"label {label!r}: all clips are of one group; two or more are needed")
        draw.shuffle(own)
        first = set(own[: len(own) // 2])
        for n, (group, name) in enumerate(zip(groups, labels, strict=True)):
            if name == label:
                (shown if group in first else held).setdefault(label, []).append(n)
    return shown, held


def embed(teacher: AudioTeacher, waves: Sequence[Tensor]) -> Floats:
    return np.stack([teacher.features([wave])[0].mean(0).double().numpy() for wave in waves])


def frechet(first: Floats, second: Floats) -> float:
    """Frechet distance of two sets of rows as normal distributions."""
    one, other = (LedoitWolf().fit(rows).covariance_ for rows in (first, second))
    root = np.real(sqrtm(one @ other))
    return float(np.square(first.mean(0) - second.mean(0)).sum() + np.trace(one + other - 2 * root))


if __name__ == "__main__":
    _common.run(main)
