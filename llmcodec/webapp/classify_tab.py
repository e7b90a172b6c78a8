"""Name clips by a few labelled ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from llmcodec.audio import load_audio
from llmcodec.icl.scorers import SCORERS
from llmcodec.prompting import load_template, template_names
from llmcodec.webapp import pictures
from llmcodec.webapp.parts import (
    QUIET,
    ClipRows,
    Examples,
    Recorder,
    answering,
    busy,
    drawing,
    example_button,
    files_field,
)
from llmcodec.webapp.service import Service


def build(service: Service, examples: Examples) -> None:
    gr.Markdown(
        "Give a few clips of each label, then clips to name. The codec turns all of them into words; a frozen language "
        "model, which never heard a sound, compares them."
    )
    example = example_button()
    rows = ClipRows("Label", "Clips")
    queries = files_field("Clips to name")
    Recorder({"Clips to name": queries, **rows.files})
    with gr.Row():
        template = gr.Dropdown(template_names(), value="sound", label="Kind of task")
        scorer = gr.Dropdown(list(SCORERS), value="knn", label="Scorer (knn says which words decided)")
    go = gr.Button("Name them", variant="primary")
    result = drawing("classified")

    def run(task: str, way: str, asked: list[str] | None, *shown: Any) -> str:
        return classify(service, rows.read(shown), [Path(path) for path in asked or []], task, way)

    inputs = [template, scorer, queries, *rows.fields]
    go.click(answering(run), inputs, result, **busy(result))
    example.click(
        lambda: [*rows.filled(examples.labelled), examples.queries, "sound", "knn"],
        None, [*rows.outputs, queries, template, scorer], **QUIET,
    ).then(answering(run), inputs, result, **busy(result))  # fmt: skip


def classify(
    service: Service, demonstrations: dict[str, list[Path]], queries: list[Path], template: str, scorer: str
) -> str:
    """What each query was taken for, as HTML."""
    codec = service.codec
    layers = load_template(template).layers
    found = service.classify(demonstrations, queries, template, scorer)
    cards = []
    for path, prediction in zip(queries, found, strict=True):
        words = codec.words(prediction.codes)
        cards.append(
            pictures.Card(
                path.name,
                prediction.probabilities,
                [word for layer in layers for word in words[layer]],
                {reason.word: reason.label for reason in prediction.reasons},
                load_audio(path, codec.sample_rate),
                service.decode(prediction.codes),
            )
        )
    return pictures.answers(cards, codec.sample_rate)
