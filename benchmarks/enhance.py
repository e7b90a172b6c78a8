#!/usr/bin/env python3
"""Is noisy speech better after enhancement by demonstration? Each variant beside the noisy clip, the codec alone and
spectral subtraction, so that it shows which part makes the gain.

    python benchmarks/enhance.py --speech FOLDER --noise FOLDER --out benchmarks/results/enhance.json

SPEECH is an audiofolder with a column speaker, NOISE one of noises. Half of the speakers and half of the noises make
the demonstrated pairs, the others are mixed at each --snr to be enhanced. Gains are paired with the noisy clip,
intervals 95 % bootstraps over clips. Word errors are those of a Whisper against what it hears in the clean clip.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _common
import numpy as np
import torch
from _page import write_page
from torch import Tensor

from llmcodec.audio import load_audio
from llmcodec.errors import ConfigError, ModelError
from llmcodec.evaluation import metrics
from llmcodec.evaluation.dataset import METADATA, audio_paths, read_table
from llmcodec.evaluation.metrics import Floats, Interval, bootstrap
from llmcodec.evaluation.provenance import provenance
from llmcodec.evaluation.recognition import WhisperJudge
from llmcodec.generation import Enhancer
from llmcodec.generation.enhance import subtraction
from llmcodec.llm import load_llm
from llmcodec.models import locate

RATE = 16_000
SECONDS = 4.0  # of each clip
Pair = tuple[Tensor, Tensor]  # noisy and clean
MEASURES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "DNSMOS": lambda clean, wave: metrics.dnsmos(wave, RATE),
    "SI-SDR": metrics.si_sdr,
    "STOI": lambda clean, wave: metrics.stoi(clean, wave, RATE),
    "PESQ wb": lambda clean, wave: metrics.pesq(clean, wave, RATE),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--snr", type=float, nargs="+", default=[-5.0, 0.0, 5.0, 10.0, 20.0], metavar="DB")
    parser.add_argument("--clips", type=int, default=30, help="enhanced at each SNR")
    parser.add_argument("--pairs", type=int, default=24, help="demonstrated")
    parser.add_argument("--llm", help="also let this language model choose the words; slow")
    parser.add_argument("--asr", default="openai/whisper-base", help="a Whisper: folder, hub id or name")
    parser.add_argument("--no-asr", action="store_true", help="leave the word errors out")
    parser.add_argument("--page", type=Path, help="write players, spectrograms and words of some clips here")
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    codec, named = _common.load_codec(arguments.codec)
    speech, noise = speech_halves(arguments.speech), noise_halves(arguments.noise)
    shown = mixtures(speech[0], noise[0], arguments.pairs, [-5.0, 0.0, 5.0, 10.0, 15.0], arguments.seed)
    enhancer = Enhancer(codec).fit([noisy for noisy, _ in shown], [clean for _, clean in shown])
    llm = load_llm(locate(arguments.llm)) if arguments.llm else None
    judge = None if arguments.no_asr else WhisperJudge(arguments.asr)

    def rewritten(wave: Tensor) -> Tensor:
        return codec.decode(enhancer.rewrite(wave, llm))[0]

    variants: dict[str, Callable[[Tensor], Tensor]] = {
        "noisy": lambda wave: wave,
        "spectral subtraction": spectral_subtraction,
        "codec only": lambda wave: codec.decode(codec.encode(wave))[0],
        "mask by the codec only": lambda wave: enhancer.resembling(wave, codec.decode(codec.encode(wave))[0]),
        "nearest clean words": lambda wave: codec.decode(enhancer.rewrite(wave))[0],
        "mask by nearest clean words": lambda wave: enhancer.resembling(wave, codec.decode(enhancer.rewrite(wave))[0]),
        "mask by examples only": lambda wave: enhancer._masked(wave, enhancer._by_example(codec.encode(wave))),
        "enhance": enhancer.enhance,
    }
    if llm:
        variants["clean words by the LLM"] = rewritten
        variants["mask by clean words of the LLM"] = lambda wave: enhancer.resembling(wave, rewritten(wave))
    rows: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    texts: list[str] = []
    with _common.progress() as tell:
        for snr in arguments.snr:
            queries = mixtures(speech[1], noise[1], arguments.clips, [snr], arguments.seed + 1)
            clean = [target for _, target in queries]
            if judge and not texts:
                texts = heard(judge, clean)  # the same clips at every SNR
            found: dict[str, dict[str, Floats]] = {}
            for done, (name, variant) in enumerate(variants.items(), 1):
                made = [variant(noisy) for noisy, _ in queries]
                found[name] = scores(made, clean)
                if judge:
                    found[name]["WER"] = metrics.word_errors(texts, heard(judge, made))
                rows.append(row(name, snr, found[name], found["noisy"], arguments.seed))
                if snr == arguments.snr[0]:
                    examples += [{"title": f"{n + 1}: {name}", "wave": made[n]} for n in range(min(3, len(made)))]
                tell(f"{snr:g} dB", done, len(variants))
    content = {
        "codec": named,
        "llm": llm and llm.name,
        "asr": Path(arguments.asr).name if judge else None,
        "data": {"speech": arguments.speech.resolve().name, "noise": arguments.noise.resolve().name},
        "clips": arguments.clips,
        "pairs": arguments.pairs,
        "rows": rows,
        "provenance": provenance(arguments.seed),
    }
    if arguments.page:
        examples.sort(key=lambda example: int(example["title"].split(":")[0]))
        write_page(arguments.page, "Enhancement by demonstration", content["provenance"], examples, codec)
    names = list(rows[0]["measures"])
    cells = [
        [f"{one['snr']:g}", one["variant"], *(shown_cell(one["measures"][name], one["gains"][name]) for name in names)]
        for one in rows
    ]
    _common.report(arguments, content, _common.table(["SNR (dB)", "variant", *names], cells))
    return 0


def speech_halves(folder: Path) -> tuple[list[Path], list[Path]]:
    """Clips of one half of the speakers, and of the other."""
    rows = read_table(folder / METADATA, ("file_name", "speaker"))
    files = audio_paths(folder / METADATA, rows, "file_name")
    speakers = sorted({row.cells["speaker"] for row in rows})
    if len(speakers) < 2:
        raise ConfigError(f"{folder}: two speakers or more are needed, not {len(speakers)}")
    first = set(speakers[::2])
    split: tuple[list[Path], list[Path]] = ([], [])
    for file, row in zip(files, rows, strict=True):
        split[row.cells["speaker"] not in first].append(file)
    return split


def noise_halves(folder: Path) -> tuple[list[Path], list[Path]]:
    rows = read_table(folder / METADATA, ("file_name",))
    files = list(audio_paths(folder / METADATA, rows, "file_name"))
    return files[::2], files[1::2]


def mixtures(
    speech: Sequence[Path], noise: Sequence[Path], count: int, levels: Sequence[float], seed: int
) -> list[Pair]:
    """Seeded mixtures: the beginning of a clip, and a noise from a random place, looped if need be."""
    draw = random.Random(seed)
    chosen = [speech[n % len(speech)] for n in range(count)]
    pairs = []
    for number, file in enumerate(chosen):
        clean = load_audio(file)[: int(SECONDS * RATE)]
        whole = load_audio(draw.choice(list(noise)))
        start = draw.randrange(len(whole))
        looped = whole.roll(-start).repeat(-(-len(clean) // len(whole)))[: len(clean)]
        scale = (clean.square().mean() / looped.square().mean().clamp(min=1e-9)).sqrt()
        noisy = clean + scale * 10 ** (-levels[number % len(levels)] / 20) * looped
        peak = max(1.0, float(noisy.abs().max()))
        pairs.append((noisy / peak, clean / peak))
    return pairs


def spectral_subtraction(wave: Tensor) -> Tensor:
    """Power spectral subtraction alone."""
    window = torch.hann_window(640)
    spectrum = torch.stft(wave, 640, 160, window=window, return_complex=True)
    gain = subtraction(spectrum.abs().square().mT).mT
    return torch.istft(spectrum * gain, 640, 160, window=window, length=len(wave))


def scores(made: Sequence[Tensor], clean: Sequence[Tensor]) -> dict[str, Floats]:
    found = {}
    for name, measure in MEASURES.items():
        try:
            found[name] = np.array([measure(target, wave) for target, wave in zip(clean, made, strict=True)])
        except ModelError:
            continue
    return found


def heard(judge: WhisperJudge, waves: Sequence[Tensor]) -> list[str]:
    """What the recogniser writes, each clip by itself."""
    return [judge.transcribe([wave], fallback=False)[0] for wave in waves]


def row(name: str, snr: float, own: dict[str, Floats], noisy: dict[str, Floats], seed: int) -> dict[str, Any]:
    return {
        "variant": name,
        "snr": snr,
        "measures": {kind: asdict(interval(values, seed)) for kind, values in own.items()},
        "gains": {kind: asdict(interval(difference(values, noisy[kind]), seed)) for kind, values in own.items()},
    }


def interval(values: Floats, seed: int) -> Interval:
    """Of values [N], or of errors and words [N, 2]."""
    return bootstrap(values, seed) if values.ndim == 1 else metrics.word_error_rate(values, seed)


def difference(own: Floats, noisy: Floats) -> Floats:
    """The same, less that of the noisy clips."""
    return own - noisy if own.ndim == 1 else np.stack([own[:, 0] - noisy[:, 0], own[:, 1]], axis=1)


def shown_cell(value: dict[str, Any], gain: dict[str, Any]) -> str:
    return f"{value['value']:.2f} ({gain['low']:+.2f} to {gain['high']:+.2f})"


if __name__ == "__main__":
    _common.run(main)
