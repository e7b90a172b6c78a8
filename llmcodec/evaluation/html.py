"""A few-shot evaluation as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
import soundfile
from jinja2 import Environment
from torch import Tensor

from llmcodec.audio import load_audio
from llmcodec.evaluation.episodes import Episode
from llmcodec.evaluation.fewshot import FewShotEvaluation
from llmcodec.evaluation.report import Answer, Report
from llmcodec.icl import NeighbourScorer

EXAMPLES = 4  # right ones, and as many wrong ones
SECONDS = 10.0  # of each clip that is put into the page
MARKED = 5  # words of a query
LEFT, RIGHT = 220.0, 500.0  # of the bars
BINS = 10


def to_html(bench: FewShotEvaluation, sets: Sequence[Sequence[Episode]], reports: Sequence[Report]) -> str:
    """The page of several settings: what was run on which episodes, and what it gave.

    Clips are put into it as MP3, so that it can be sent as it is.
    """
    first = reports[0]
    judge = next(iter(bench.judges), "nearest neighbour, words")
    names = [f"{report.setup['ways']}-way {report.setup['shots']}-shot" for report in reports]
    made = first.provenance
    page = Environment(autoescape=True, trim_blocks=False).from_string(
        (resources.files("llmcodec") / "data" / "report.html.jinja").read_text(encoding="utf-8")
    )
    return page.render(
        title=f"Few-shot: {first.setup['data']}",
        facts=first.setup,
        provenance=f"{made['date'][:10]}, seed {made['seed']}, {first.setup['episodes']} episodes a setting, "
        f"{made['machine']['processor']}, {made['threads']} threads",
        notes=sorted({note for report in reports for note in report.notes}),
        charts=[_chart(name, report) for name, report in zip(names, reports, strict=True)],
        settings=names,
        table=_table(reports),
        calibration=[
            curve for name, report in zip(names, reports, strict=True) if (curve := _calibration(name, report, judge))
        ],
        confusion=[_confusion(name, report, judge) for name, report in zip(names, reports, strict=True)],
        judge=judge,
        examples=_examples(bench, sets[0], first, judge),
    )


def _chart(name: str, report: Report) -> dict[str, Any]:
    def place(share: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * share, 1)

    chance, *rows = report.rows
    bars = [
        {
            "method": row.method, "model": row.method.startswith("llm"), "width": place(row.accuracy) - LEFT,
            "low": place(row.low or 0.0), "high": place(row.high or 0.0), "text": f"{100 * row.accuracy:.1f}",
        }
        for row in rows
    ]  # fmt: skip
    return {"name": name, "bars": bars, "chance": place(chance.accuracy)}


def _table(reports: Sequence[Report]) -> list[dict[str, Any]]:
    cells: dict[str, list[str]] = {}
    for column, report in enumerate(reports):
        for row in report.rows:
            between = "" if row.low is None or row.high is None else f" ({100 * row.low:.0f} - {100 * row.high:.0f})"
            cells.setdefault(row.method, [""] * len(reports))[column] = f"{100 * row.accuracy:.1f}{between}"
    return [{"method": name, "model": name.startswith("llm"), "cells": row} for name, row in cells.items()]


def _calibration(name: str, report: Report, judge: str) -> dict[str, Any] | None:
    row = next(row for row in report.rows if row.method == judge)
    if row.ece is None:
        return None
    sure = np.array([answer.sure[judge] for answer in report.answers])
    right = np.array([answer.said[judge] == answer.label for answer in report.answers])
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    points = []
    for place in np.unique(bins):
        held = bins == place
        x, y, share = sure[held].mean(), right[held].mean(), held.mean()
        points.append(
            {
                "x": round(40 + 280 * x, 1), "y": round(260 - 250 * y, 1), "r": round(3 + 14 * share**0.5, 1),
                "text": f"{held.sum()} answers of probability {x:.2f}: {100 * y:.0f} % right",
            }
        )  # fmt: skip
    return {"name": name, "points": points, "ece": f"{row.ece:.3f}"}


def _confusion(name: str, report: Report, judge: str) -> dict[str, Any]:
    labels = list(report.setup["classes"])
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    for answer in report.answers:
        counts[labels.index(answer.label), labels.index(answer.said[judge])] += 1
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    rows = [
        {
            "label": label,
            "cells": [
                {"count": int(count), "shade": round(float(share))}
                for count, share in zip(counts[n], shares[n], strict=True)
            ],
        }
        for n, label in enumerate(labels)
    ]
    return {"name": name, "labels": labels, "rows": rows}


def _examples(
    bench: FewShotEvaluation, episodes: Sequence[Episode], report: Report, judge: str
) -> list[tuple[str, list[dict[str, Any]]]]:
    found = []
    for kind, wanted in (("Right answers", True), ("Wrong answers", False)):
        chosen = [answer for answer in report.answers if (answer.said[judge] == answer.label) is wanted]
        seen = {answer.label: answer for answer in reversed(chosen)}  # one of each label
        clips = [_example(bench, episodes[answer.episode], answer, judge) for answer in list(seen.values())[:EXAMPLES]]
        found.append((kind, clips))
    return found


def _example(bench: FewShotEvaluation, episode: Episode, answer: Answer, judge: str) -> dict[str, Any]:
    names = bench.folder.names
    query = next(clip for clip in episode.queries if names[clip] == answer.file)
    shown = [
        {"label": label, "audio": _audio(bench, clips[0])}
        for label, clips in zip(episode.labels, episode.demonstrations, strict=True)
    ]
    words = _words(bench, episode, query, judge)
    return {
        "said": answer.said[judge],
        "label": answer.label,
        "right": answer.said[judge] == answer.label,
        "sure": f"{100 * answer.sure[judge]:.0f} %" if judge in answer.sure else "",
        "file": answer.file,
        "audio": _audio(bench, query),
        "words": words,
        "top": list({word["text"]: word for word in words if word["label"]}.values()),
        "shown": shown,
    }


def _words(bench: FewShotEvaluation, episode: Episode, query: int, judge: str) -> list[dict[str, str]]:
    """The words of a query, those marked that spoke the most, with the class they spoke for."""
    if judge not in bench.judges:
        return []
    builder, scorer = bench.judges[judge].builder, bench.judges[judge].scorer
    if not isinstance(scorer, NeighbourScorer):
        return []
    shown = [[builder.word_ids(bench.codes[clip]) for clip in clips] for clips in episode.demonstrations]
    scorer.fit(shown, episode.labels)
    words = builder.word_ids(bench.codes[query])
    gains = {token: (part - part.mean()).max(0) for token, part in scorer.parts(words).items()}
    top = sorted(gains, key=lambda token: -float(gains[token].values))[:MARKED]
    written = builder.words
    return [
        {
            "text": written[token],
            "label": episode.labels[int(gains[token].indices)] if token in top else "",
            "weight": f"{float(gains[token].values):.2f}",
        }
        for token in words
    ]


def _audio(bench: FewShotEvaluation, clip: int) -> str:
    """A clip as the address of itself."""
    rate = bench.codec.sample_rate
    wave = load_audio(bench.folder.files[clip], rate)[: int(SECONDS * rate)]
    return audio_address(wave, rate)


def audio_address(wave: Tensor, rate: int) -> str:
    """A waveform [T] as the address of itself, an MP3."""
    file = io.BytesIO()
    soundfile.write(file, wave.clamp(-1, 1).numpy(), rate, format="MP3")
    return data_address(file.getvalue(), "audio/mpeg")


def data_address(content: bytes, kind: str) -> str:
    """The address that holds `content` of that media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
