#!/usr/bin/env python3
"""Digits spoken by demonstration, and questions answered aloud: is what was written understood, good, and no copy?

    python benchmarks/speak.py --data FOLDER --generations 200 --out benchmarks/results/speak.json

FOLDER is an audiofolder of one speaker with a column label. For each round --shots clips of every label are drawn,
shown, and every label is generated. A Whisper judges: which of the labels is it (restricted), and what does it write
(free). The same is measured on other recordings, on their codec round trip, and on words drawn blindly from those that
the model may choose among, with as many candidates: what the model adds is the difference. Questions are those of
questions.yaml.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import _common
import numpy as np
import torch
import yaml
from _generation_tables import percent
from _page import write_page
from torch import Tensor

from llmcodec.audio import load_audio
from llmcodec.codec import AudioCodes, LLMCodec
from llmcodec.errors import ConfigError, ModelError, PromptError
from llmcodec.evaluation import metrics, read_labelled
from llmcodec.evaluation.metrics import Accuracy, bootstrap
from llmcodec.evaluation.provenance import provenance
from llmcodec.evaluation.recognition import WhisperJudge
from llmcodec.generation import RERANKERS, FewShotGenerator, Thinker
from llmcodec.llm import FrozenLLM, Generation, Prefix, Sampling, Schedule, best_of, load_llm
from llmcodec.models import locate

QUESTIONS = Path(__file__).with_name("questions.yaml")
NEAR = 0.9  # share of equal words from which a generation counts as nearly a copy


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--llm", help="folder, hub id, or a name below $LLMCODEC_MODELS")
    parser.add_argument("--shots", type=int, default=3, help="demonstrations of each label")
    parser.add_argument("--generations", type=int, default=200)
    parser.add_argument("--candidates", type=int, default=1)
    parser.add_argument("--rerank", choices=RERANKERS, default="likelihood", help="which candidate is kept")
    parser.add_argument("--temperature", type=float, help="0: the likeliest words (default for one candidate)")
    parser.add_argument("--judged", type=int, default=40, help="of the others, and for speaker similarity")
    parser.add_argument("--asr", default="openai/whisper-base", help="a Whisper: folder, hub id or name")
    parser.add_argument("--no-questions", action="store_true", help="leave the questions out")
    parser.add_argument("--page", type=Path, help="write players, spectrograms and words of some clips here")
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    folder = read_labelled(arguments.data)
    codec, named = _common.load_codec(arguments.codec)
    llm, judge = load_llm(arguments.llm and locate(arguments.llm)), WhisperJudge(arguments.asr)
    draw = random.Random(arguments.seed)
    by_label = {label: [n for n, own in enumerate(folder.labels) if own == label] for label in folder.classes}
    if min(map(len, by_label.values())) <= arguments.shots:
        raise ConfigError(f"{arguments.data}: every label needs more than {arguments.shots} clips")
    made: dict[str, list[tuple[str, Tensor]]] = {
        "generated": [], "blind choice": [], "other recordings": [], "their codec round trip": [],
    }  # fmt: skip
    copies, used = 0, 0
    alike: list[float] = []
    similar: list[float] = []
    took: list[float] = []
    sampling = best_of(arguments.candidates, arguments.seed, arguments.temperature)
    with _common.progress() as tell:
        for _ in range(-(-arguments.generations // len(by_label))):
            shown = {label: draw.sample(clips, arguments.shots) for label, clips in by_label.items()}
            clips = [(label, n) for label, chosen in shown.items() for n in chosen]
            generator = FewShotGenerator(codec, llm, sampling=sampling, rerank=arguments.rerank)
            generator.fit([label for label, _ in clips], [folder.files[n] for _, n in clips])
            for label in by_label:
                sampling = replace(sampling, seed=sampling.seed + 1)
                generator.sampling = sampling
                found = generator.generate(label)
                took.append(found.seconds / (len(found.wave) / codec.sample_rate))
                shares = [share(found.codes, one.codes) for one in generator.demonstrations]
                copies, alike = copies + (max(shares) == 1), [*alike, max(shares)]
                made["generated"].append((label, found.wave))
                if used < arguments.judged:
                    used += 1
                    other = draw.choice([n for n in by_label[label] if n not in shown[label]])
                    wave = generator.load(folder.files[other])
                    made["other recordings"].append((label, wave))
                    made["their codec round trip"].append((label, codec.decode(codec.encode(wave))[0]))
                    made["blind choice"].append((label, blind(generator, label, draw)))
                    own = torch.cat([generator.load(folder.files[n]) for n in shown[label]])
                    similar.append(similarity(own, found.wave))
                tell("generate", len(made["generated"]), arguments.generations)
        rows = [judged(name, pairs, judge, codec, arguments, tell) for name, pairs in made.items()]
        levels = [] if arguments.no_questions else questions(llm, generator, judge, tell)
    content = {
        "codec": named,
        "llm": llm.name,
        "asr": Path(arguments.asr).name,
        "data": arguments.data.resolve().name,
        "shots": arguments.shots,
        "temperature": sampling.temperature,
        "candidates": arguments.candidates,
        "rerank": arguments.rerank,
        "rows": rows,
        "copies": {
            "exact": copies,
            "nearly": sum(found >= NEAR for found in alike),
            "equal words": asdict(bootstrap(alike, arguments.seed)),
            "n": len(alike),
        },
        "speaker similarity": asdict(bootstrap(similar, arguments.seed)),
        "seconds per second": float(np.mean(took)),
        "reuse": reuse(generator, list(by_label)),
        "questions": levels,
        "provenance": provenance(arguments.seed),
    }
    if arguments.page:
        examples = [
            {"title": f"{label}: {name}", "wave": wave}
            for name, pairs in made.items()
            for label, wave in pairs[: len(by_label)]
        ]
        examples.sort(key=lambda example: str(example["title"]))
        write_page(arguments.page, f"Digits by demonstration, {llm.name}", content["provenance"], examples, codec)
    table = _common.table(
        ["what", "restricted", "free", "WER", "DNSMOS", "n"],
        [[row["what"], *map(percent, (row["restricted"], row["free"])), f"{row['wer']['value']:.2f}",
          f"{row['dnsmos']['value']:.2f}", row["restricted"]["n"]] for row in rows],
    )  # fmt: skip
    asked = _common.table(
        ["level", "answer", "answer heard", "refused", "n"],
        [[row["level"], percent(row["answer"]), percent(row["heard"]), row["refused"], row["answer"]["n"]]
         for row in levels],
    )  # fmt: skip
    facts = f"copies {content['copies']['exact']} and nearly {content['copies']['nearly']} of {len(alike)}; "
    facts += f"{content['seconds per second']:.1f} s for a second; reuse {content['reuse']}"
    _common.report(arguments, content, "\n\n".join([table, asked, facts]))
    return 0


def share(one: AudioCodes, other: AudioCodes) -> float:
    """Share of equal words of two clips, place by place; 1 only if they are the same."""
    equal = sum(
        int((a[0, : b.shape[1]] == b[0, : a.shape[1]]).sum()) for a, b in zip(one.layers, other.layers, strict=True)
    )
    return equal / sum(max(a.shape[1], b.shape[1]) for a, b in zip(one.layers, other.layers, strict=True))


def blind(generator: FewShotGenerator, label: str, draw: random.Random) -> Tensor:
    """What comes out when the words are drawn from those allowed, without the language model."""
    llm = generator.llm
    generator.llm = _Blind(draw)  # type: ignore[assignment]
    try:
        return generator.generate(label).wave
    finally:
        generator.llm = llm
        generator._contexts.clear()


class _Blind:
    """In place of a language model: draws evenly among the words that the schedule allows."""

    name, max_context, bos_id = "blind", 1 << 30, None

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    def prepare(self, prefixes: Sequence[Sequence[int]]) -> list[Prefix]:
        return [Prefix((), torch.zeros(0), None) for _ in prefixes]

    def extend(self, pairs: Sequence[Any]) -> list[Prefix]:
        return [prefix for prefix, _ in pairs]

    def generate(self, requests: Sequence[Any], sampling: Sampling) -> list[list[Generation]]:
        return [
            [Generation(tuple(self._drawn(schedule)), torch.zeros(len(schedule))) for _ in range(sampling.candidates)]
            for _, schedule in requests
        ]

    def _drawn(self, schedule: Schedule) -> list[int]:
        past: list[int] = []
        while len(past) < len(schedule):
            past.append(self._draw.choice(schedule.allowed(past)))
        return past


def judged(
    name: str, pairs: Sequence[tuple[str, Tensor]], judge: WhisperJudge, codec: LLMCodec, arguments: Any,
    tell: _common.Tell,
) -> dict[str, Any]:  # fmt: skip
    texts = sorted({label for label, _ in pairs})
    chosen: list[str] = []
    heard: list[str] = []
    for done, (_, wave) in enumerate(pairs, 1):
        one, other = judge.choose([load_audio(wave, judge.sample_rate, codec.sample_rate)], texts)
        chosen, heard = [*chosen, *one], [*heard, *other]
        tell(name, done, len(pairs))
    labels = [label for label, _ in pairs]
    errors = metrics.word_errors(labels, heard)
    try:
        quality = [metrics.dnsmos(wave, 16_000) for _, wave in pairs]
    except ModelError:
        quality = []
    ratio = metrics.word_error_rate(errors, arguments.seed)
    return {
        "what": name,
        "restricted": asdict(Accuracy.of(a == b for a, b in zip(chosen, labels, strict=True))),
        "free": asdict(
            Accuracy.of(
                metrics.normalise_text(a) == metrics.normalise_text(b) for a, b in zip(heard, labels, strict=True)
            )
        ),
        "wer": asdict(ratio),
        "dnsmos": asdict(bootstrap(quality or [np.nan], arguments.seed)),
    }


def similarity(own: Tensor, wave: Tensor) -> float:
    try:
        return metrics.speaker_similarity(own, wave)
    except ModelError:
        return float("nan")


def questions(
    llm: FrozenLLM, generator: FewShotGenerator, judge: WhisperJudge, tell: _common.Tell
) -> list[dict[str, Any]]:
    """For each level: is the answer right, and is it understood when it is spoken; how many were refused as answers
    that were not demonstrated."""
    labels = sorted({str(one.given) for one in generator.demonstrations})
    thinker, rows = Thinker(llm, labels), []
    spoken: dict[str, str] = {}
    generator.sampling = Sampling()
    for level, entries in yaml.safe_load(QUESTIONS.read_text(encoding="utf-8")).items():
        right, understood, refused = [], [], 0
        for done, entry in enumerate(entries, 1):
            try:
                text = thinker.answer(entry["question"]).text
            except PromptError:
                refused += 1
                text = ""
            if text and text not in spoken:
                wave = generator.generate(text).wave
                rate = generator.codec.sample_rate
                spoken[text] = judge.choose([load_audio(wave, judge.sample_rate, rate)], labels)[0][0]
            right.append(text == entry["answer"])
            understood.append(spoken.get(text) == entry["answer"])
            tell(f"level {level}", done, len(entries))
        rows.append({
            "level": level, "answer": asdict(Accuracy.of(right)), "heard": asdict(Accuracy.of(understood)),
            "refused": refused,
        })  # fmt: skip
    return rows


def reuse(generator: FewShotGenerator, labels: Sequence[str]) -> dict[str, float]:
    """Seconds until the first word can be written: with everything read anew, with another query behind the same
    demonstrations, and with the same query again."""
    generator._contexts.clear()
    (part,) = generator._parts(labels[0], [labels[0]], None)
    other = replace(part, query=tuple(generator.builder.query(generator.builder.input_ids(labels[-1]))))
    times = {}
    for name, asked in (("anew", part), ("another query", other), ("again", part)):
        begun = time.perf_counter()
        generator._asked([asked])
        times[name] = time.perf_counter() - begun
    return times


if __name__ == "__main__":
    _common.run(main)
