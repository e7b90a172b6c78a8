#!/usr/bin/env python3
"""How much of speech survives the codec: STOI, PESQ, SI-SDR, mel distance and the word errors of a recogniser.

    python benchmarks/reconstruct.py --data FOLDER --out benchmarks/results/reconstruct.json

FOLDER is an audiofolder (metadata.csv with file_name and, for word errors, text). Intervals are 95 % bootstraps over
clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _common
import numpy as np
from torch import Tensor

from llmcodec.audio import load_audio
from llmcodec.codec import LLMCodec
from llmcodec.evaluation import metrics
from llmcodec.evaluation.dataset import METADATA, audio_files, read_table
from llmcodec.evaluation.metrics import Interval, bootstrap
from llmcodec.evaluation.provenance import provenance
from llmcodec.evaluation.recognition import MAX_SECONDS, WhisperJudge

BATCH = 8
DIGITS = {"STOI": 3, "PESQ wb": 2, "SI-SDR (dB)": 1, "mel distance (dB)": 2}


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--asr", default="openai/whisper-base", help="a Whisper: folder, hub id or name")
    parser.add_argument("--no-asr", action="store_true", help="leave the word errors out")
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    files = audio_files(arguments.data)
    texts = [] if arguments.no_asr else read_texts(arguments.data)
    judge = WhisperJudge(arguments.asr) if texts else None
    codec, named = _common.load_codec(arguments.codec)
    waves = [load_audio(file, codec.sample_rate) for file in files]
    with _common.progress() as tell:
        made = reconstruct(codec, waves, lambda done: tell("reconstruct", done, len(waves)))
        rows = quality(waves, made, codec.sample_rate, arguments.seed, lambda done: tell("compare", done, len(waves)))
        if judge is not None:
            rows |= recognition(judge, waves, made, texts, codec.sample_rate, arguments.seed, tell)
    sizes = [math.log2(len(vocabulary)) for vocabulary in codec.vocabularies]
    bits = sum(codec.frame_rate / stride * size for stride, size in zip(codec.strides, sizes, strict=True))
    content = {
        "codec": named,
        "data": {
            "name": arguments.data.resolve().name,
            "clips": len(files),
            "seconds": sum(map(len, waves)) / codec.sample_rate,
        },
        "tokens_per_second": codec.tokens_per_second,
        "bits_per_second": bits,
        "asr": Path(arguments.asr).name if judge else None,
        "rows": {name: asdict(row) if row.n else {"n": 0} for name, row in rows.items()},
        "provenance": provenance(arguments.seed),
    }
    lines = [[name, *shown(name, row), row.n] for name, row in rows.items()]
    summary = f"{codec.tokens_per_second:.1f} tokens/s, {bits:.0f} bit/s"
    _common.report(
        arguments, content, f"{summary}\n\n{_common.table(['measure', 'mean', '95 % interval', 'clips'], lines)}"
    )
    return 0


def read_texts(folder: Path) -> list[str]:
    """The transcript of each clip, in the order of `audio_files`; without metadata or its column text: none."""
    if not (folder / METADATA).exists():
        return []
    rows = read_table(folder / METADATA, ("file_name",))
    return [row.cells["text"] for row in rows] if "text" in rows[0].cells else []


def reconstruct(codec: LLMCodec, waves: Sequence[Tensor], tell: Callable[[int], None]) -> list[Tensor]:
    made: list[Tensor] = []
    for start in range(0, len(waves), BATCH):
        made += codec.decode(codec.encode(waves[start : start + BATCH]))
        tell(len(made))
    return made


def quality(
    waves: Sequence[Tensor], made: Sequence[Tensor], rate: int, seed: int, tell: Callable[[int], None]
) -> dict[str, Interval]:
    rows = []
    for done, (wave, copy) in enumerate(zip(waves, made, strict=True), 1):
        rows.append(
            (metrics.stoi(wave, copy, rate), metrics.pesq(wave, copy, rate), metrics.si_sdr(wave, copy),
             metrics.mel_distance(wave, copy, rate))
        )  # fmt: skip
        tell(done)
    return {name: bootstrap(column, seed) for name, column in zip(DIGITS, np.array(rows).T, strict=True)}


def recognition(
    judge: WhisperJudge, waves: Sequence[Tensor], made: Sequence[Tensor], texts: Sequence[str], rate: int, seed: int,
    tell: _common.Tell,
) -> dict[str, Interval]:  # fmt: skip
    """Word error rates of originals and of reconstructions, on clips with a text that the recogniser can hold."""
    chosen = [n for n, text in enumerate(texts) if text and len(waves[n]) <= MAX_SECONDS * rate]
    found: dict[str, Interval] = {}
    for name, clips in (("WER of the original", waves), ("WER of the reconstruction", made)):
        heard: list[str] = []
        for start in range(0, len(chosen), BATCH):
            batch = [load_audio(clips[n], judge.sample_rate, rate) for n in chosen[start : start + BATCH]]
            heard += judge.transcribe(batch)
            tell(name, len(heard), len(chosen))
        errors = metrics.word_errors([texts[n] for n in chosen], heard)
        found[name] = bootstrap(errors, seed, lambda sums: sums[:, 0] / np.maximum(sums[:, 1], 1))
    return found


def shown(name: str, row: Interval) -> tuple[Any, Any]:
    if not row.n:
        return "-", "-"
    if name not in DIGITS:
        return f"{100 * row.value:.1f} %", f"{100 * row.low:.1f} - {100 * row.high:.1f}"
    digits = DIGITS[name]
    return f"{row.value:.{digits}f}", f"{row.low:.{digits}f} - {row.high:.{digits}f}"


if __name__ == "__main__":
    _common.run(main)
