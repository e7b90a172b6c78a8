#!/usr/bin/env python3
"""How much of sound survives a codec: STOI, PESQ, distances, judged quality, speaker, and a recogniser's word errors.

    python benchmarks/reconstruct.py --data FOLDER --out benchmarks/results/reconstruct.json
    python benchmarks/reconstruct.py --data FOLDER --peer ENCODEC --out benchmarks/results/reconstruct-encodec.json

FOLDER is an audiofolder (metadata.csv with file_name and, for word errors, text) or any folder of clips. ENCODEC is a
folder or hub id of a codec of transformers (EnCodec, DAC, Mimi). Intervals are 95 % bootstraps over clips. A measure
whose package is missing (pystoi, pesq, jiwer: extra eval; speechmos, resemblyzer) is left out and said so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _common
import torch
from _peers import transformers_codec
from torch import Tensor

from llmcodec.audio import load_audio
from llmcodec.codec import AudioCodes
from llmcodec.errors import ModelError
from llmcodec.evaluation import metrics
from llmcodec.evaluation.dataset import METADATA, audio_files, read_table
from llmcodec.evaluation.metrics import Interval, bootstrap
from llmcodec.evaluation.provenance import provenance
from llmcodec.evaluation.recognition import MAX_SECONDS, WhisperJudge
from llmcodec.models import locate

BATCH = 8
RATE = 16_000  # of what is compared, whatever the codec's own
Measure = Callable[[Tensor, Tensor, int], float]
MEASURES: dict[str, tuple[Measure, int]] = {  # name: of original, copy and rate; digits to show
    "STOI": (metrics.stoi, 3),
    "PESQ wb": (metrics.pesq, 2),
    "PESQ nb": (lambda wave, copy, rate: metrics.pesq(wave, copy, rate, "nb"), 2),
    "SI-SDR (dB)": (lambda wave, copy, rate: metrics.si_sdr(wave, copy), 1),
    "mel distance (dB)": (metrics.mel_distance, 2),
    "STFT distance (dB)": (lambda wave, copy, rate: metrics.stft_distance(wave, copy), 2),
    "DNSMOS of the original": (lambda wave, copy, rate: metrics.dnsmos(wave, rate), 2),
    "DNSMOS of the reconstruction": (lambda wave, copy, rate: metrics.dnsmos(copy, rate), 2),
    "speaker similarity": (lambda wave, copy, rate: metrics.speaker_similarity(wave, copy), 3),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", help="a codec of transformers instead of ours: folder or hub id")
    parser.add_argument("--asr", default="openai/whisper-base", help="a Whisper: folder, hub id or name")
    parser.add_argument("--no-asr", action="store_true", help="leave the word errors out")
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    files = audio_files(arguments.data)
    texts = [] if arguments.no_asr else read_texts(arguments.data)
    judge = WhisperJudge(arguments.asr) if texts else None
    waves = [load_audio(file, RATE) for file in files]
    with _common.progress() as tell:

        def step(done: int) -> None:
            tell("reconstruct", done, len(waves))

        if arguments.peer:
            made, about = through_peer(arguments.peer, waves, step)
        else:
            made, about = through_ours(arguments, waves, step)
        rows, missing = quality(waves, made, arguments.seed, lambda done: tell("compare", done, len(waves)))
        if judge is not None:
            rows |= recognition(judge, waves, made, texts, RATE, arguments.seed, tell)
    content = {
        **about,
        "data": {
            "name": arguments.data.resolve().name,
            "clips": len(files),
            "seconds": sum(map(len, waves)) / RATE,
        },
        "asr": Path(arguments.asr).name if judge else None,
        "rows": {name: asdict(row) if row.n else {"n": 0} for name, row in rows.items()},
        "missing": missing,
        "provenance": provenance(arguments.seed),
    }
    lines = [[name, *shown(name, row), row.n] for name, row in rows.items()]
    summary = f"{about['tokens_per_second']:.1f} tokens/s, {about['bits_per_second']:.0f} bit/s"
    table = _common.table(["measure", "mean", "95 % interval", "clips"], lines)
    _common.report(arguments, content, "\n\n".join([summary, table, *missing]))
    return 0


def read_texts(folder: Path) -> list[str]:
    """The transcript of each clip, in the order of `audio_files`; without metadata or its column text: none."""
    if not (folder / METADATA).exists():
        return []
    rows = read_table(folder / METADATA, ("file_name",))
    return [row.cells["text"] for row in rows] if "text" in rows[0].cells else []


def through_ours(
    arguments: Any, waves: Sequence[Tensor], tell: Callable[[int], None]
) -> tuple[list[Tensor], dict[str, Any]]:
    """Copies of the clips, and what made them."""
    codec, named = _common.load_codec(arguments.codec)
    made: list[Tensor] = []
    codes: list[AudioCodes] = []
    for start in range(0, len(waves), BATCH):
        batch = [load_audio(wave, codec.sample_rate, RATE) for wave in waves[start : start + BATCH]]
        codes.append(codec.encode(batch))
        copies = codec.decode(codes[-1])
        made += [load_audio(copy, RATE, codec.sample_rate) for copy in copies]
        tell(len(made))
    bits = codec.bits_per_second
    use = [layer.as_dict() for layer in metrics.codebook_use(codec, codes)]
    about = {"codec": named, "tokens_per_second": codec.tokens_per_second, "bits_per_second": bits, "use": use}
    return made, about


def through_peer(
    name: str, waves: Sequence[Tensor], tell: Callable[[int], None]
) -> tuple[list[Tensor], dict[str, Any]]:
    """The same with a codec of transformers, at its lowest rate."""
    model = transformers_codec(locate(name))
    made, counts, bits = [], 0, 0.0
    for done, wave in enumerate(waves, 1):
        codes = model.encode(load_audio(wave, model.sample_rate, RATE))
        copy = load_audio(model.decode(codes), RATE, model.sample_rate)[: len(wave)]
        made.append(torch.nn.functional.pad(copy, (0, len(wave) - len(copy))))
        counts += codes.numel()
        bits += codes.numel() * math.log2(model.codebook_size)
        tell(done)
    seconds = sum(map(len, waves)) / RATE
    about = {"codec": {"name": _common.codec_name(name)}, "tokens_per_second": counts / seconds}
    return made, {**about, "bits_per_second": bits / seconds}


def quality(
    waves: Sequence[Tensor], made: Sequence[Tensor], seed: int, tell: Callable[[int], None]
) -> tuple[dict[str, Interval], list[str]]:
    """Every measure that can be had, and why the others cannot."""
    found, missing = {}, []
    for done, (name, (measure, _)) in enumerate(MEASURES.items(), 1):
        try:
            column = [measure(wave, copy, RATE) for wave, copy in zip(waves, made, strict=True)]
            found[name] = bootstrap(column, seed)
        except ModelError as error:
            missing.append(f"Without {name}: {error}")
        tell(done * len(waves) // len(MEASURES))
    return found, missing


def recognition(
    judge: WhisperJudge, waves: Sequence[Tensor], made: Sequence[Tensor], texts: Sequence[str], rate: int, seed: int,
    tell: _common.Tell,
) -> dict[str, Interval]:  # fmt: skip
    """Word error rates of originals and of reconstructions, on clips with a text that the recogniser can hold; greedy
    decoding, which now and then repeats a phrase without end, apart."""
    chosen = [n for n, text in enumerate(texts) if text and len(waves[n]) <= MAX_SECONDS * rate]
    found: dict[str, Interval] = {}
    for name, clips, fallback in (
        ("WER of the original", waves, True),
        ("WER of the reconstruction", made, True),
        ("WER of the reconstruction, greedy", made, False),
    ):
        heard: list[str] = []
        for start in range(0, len(chosen), BATCH):
            batch = [load_audio(clips[n], judge.sample_rate, rate) for n in chosen[start : start + BATCH]]
            heard += judge.transcribe(batch, fallback, seed)
            tell(name, len(heard), len(chosen))
        errors = metrics.word_errors([texts[n] for n in chosen], heard)
        found[name] = metrics.word_error_rate(errors, seed)
    return found


def shown(name: str, row: Interval) -> tuple[Any, Any]:
    if not row.n:
        return "-", "-"
    if name not in MEASURES:
        return f"{100 * row.value:.1f} %", f"{100 * row.low:.1f} - {100 * row.high:.1f}"
    digits = MEASURES[name][1]
    return f"{row.value:.{digits}f}", f"{row.low:.{digits}f} - {row.high:.{digits}f}"


if __name__ == "__main__":
    _common.run(main)
