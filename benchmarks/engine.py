#!/usr/bin/env python3
"""How fast clips are classified once the demonstrations are read, and what memory many classes take.

    python benchmarks/engine.py --data FOLDER --threads 2

Clips of FOLDER, cut or repeated to five seconds; labels are drawn, as only time and memory count. Both ways are timed
in one process: the scorer fitted once and asked about all queries, and each query with its whole prompt anew (a new
scorer, which keeps nothing from the last). Then their scores are compared. The large problem comes first, so that the
peak of memory is its own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common
import numpy as np
import torch
from speed import peak_megabytes

from llmcodec.audio import load_audio
from llmcodec.codec import WordSpace
from llmcodec.evaluation.dataset import audio_files
from llmcodec.evaluation.provenance import provenance
from llmcodec.icl import Scorer, build_scorer
from llmcodec.llm import load_llm
from llmcodec.models import locate
from llmcodec.prompting import ClipWords, PromptBuilder, load_template

SECONDS = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--llm", help="folder, hub id, or a name below $LLMCODEC_MODELS")
    parser.add_argument("--scorer", nargs="+", default=["knn", "channel", "direct"])
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--anew", type=int, default=5, help="queries that are scored with everything anew")
    parser.add_argument("--many", type=int, nargs=2, default=(50, 10), metavar=("WAYS", "SHOTS"), help="for memory")
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    codec, named = _common.load_codec(arguments.codec, decodes=False)
    llm = load_llm(arguments.llm and locate(arguments.llm))
    template = load_template("sound")
    builder = PromptBuilder(template, llm, codec.vocabularies, codec.layer_names)
    space = WordSpace(codec, template.layers)
    ways, shots = arguments.many
    words = _words(arguments, codec, builder, max(25, ways * shots) + arguments.queries)
    queries, clips = words[: arguments.queries], words[arguments.queries :]

    def scorer(name: str) -> Scorer:
        return build_scorer(name, builder, space)

    start, large = time.perf_counter(), scorer("knn")
    large.fit(_split(clips, ways, shots), [str(way) for way in range(ways)])
    large.scores(queries)
    many = {"ways": ways, "shots": shots, "seconds": round(time.perf_counter() - start, 2), "peak_mb": peak_megabytes()}
    rows = [_timed(name, scorer, _split(clips, 5, 5), queries, arguments.anew) for name in arguments.scorer]
    content = {
        "codec": named, "llm": llm.name, "queries": len(queries), "seconds_per_query": SECONDS, "many": many,
        "rows": rows, "provenance": provenance(arguments.seed),
    }  # fmt: skip
    lines = [
        [row["scorer"], f"{row['once_s']:.3f} s", f"{row['anew_s']:.3f} s", f"{row['times_faster']:.1f}",
         f"{row['largest_difference']:.1e}"]
        for row in rows
    ]  # fmt: skip
    note = f"{ways}-way {shots}-shot by knn: {many['seconds']} s with {len(queries)} queries, peak {many['peak_mb']} MB"
    table = _common.table(["5-way 5-shot", "a query, fitted once", "a query, all anew", "times", "difference"], lines)
    _common.report(arguments, content, f"{note}\n\n{table}")
    return 0


def _words(arguments: Any, codec: Any, builder: PromptBuilder, count: int) -> list[ClipWords]:
    """The words of `count` clips of five seconds, drawn from the files."""
    files = audio_files(arguments.data)
    random, length = np.random.default_rng(arguments.seed), int(SECONDS * codec.sample_rate)
    words = []
    for place in random.integers(len(files), size=count):
        wave = load_audio(files[place], codec.sample_rate)
        start = int(random.integers(max(1, len(wave) - length)))
        words.append(builder.word_ids(codec.encode([wave[start:].repeat(length // len(wave[start:]) + 1)[:length]])))
    return words


def _split(clips: Sequence[ClipWords], ways: int, shots: int) -> list[Sequence[ClipWords]]:
    return [clips[way * shots : (way + 1) * shots] for way in range(ways)]


def _timed(
    name: str, make: Any, demonstrations: list[Sequence[ClipWords]], queries: Sequence[ClipWords], anew: int
) -> dict[str, Any]:
    """Seconds a query, fitting included, in both ways, and by how much their scores differ."""
    labels = [f"sound {way}" for way in range(len(demonstrations))]
    times, rows = [], []
    for query in queries[:anew]:
        start, alone = time.perf_counter(), make(name)
        alone.fit(demonstrations, labels)
        rows.append(alone.scores([query]))
        times.append(time.perf_counter() - start)
    start, judge = time.perf_counter(), make(name)
    judge.fit(demonstrations, labels)
    together = judge.scores(queries)
    once = (time.perf_counter() - start) / len(queries)
    return {
        "scorer": name, "once_s": once, "anew_s": float(np.median(times)),
        "times_faster": float(np.median(times)) / once,
        "largest_difference": float((together[:anew] - torch.cat(rows)).abs().max()),
    }  # fmt: skip


if __name__ == "__main__":
    _common.run(main)
