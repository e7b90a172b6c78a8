"""Say a text as a few recordings do; heard while it is written."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from llmcodec.audio import audio_info
from llmcodec.codec import AudioCodes, join_codes
from llmcodec.generation import RERANKERS
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
    playable,
    player,
)
from llmcodec.webapp.service import CANDIDATES, SPOKEN, Service

# Plays what has come since the last time: `value` holds all samples of one run so far, 16 bits each, in base64.
PLAY = """let context, run, heard = 0, end = 0;
watch("value", () => {
  const value = props.value;
  if (!value) return;
  if (value.run !== run) { run = value.run; heard = 0; end = 0; }
  const samples = new Int16Array(Uint8Array.from(atob(value.samples), (c) => c.charCodeAt(0)).buffer).slice(heard);
  if (!samples.length) return;
  heard += samples.length;
  context ??= new AudioContext();
  const sound = context.createBuffer(1, samples.length, value.rate);
  sound.copyToChannel(Float32Array.from(samples, (sample) => sample / 32768), 0);
  const source = new AudioBufferSourceNode(context, {buffer: sound});
  source.connect(context.destination);
  end = Math.max(end, context.currentTime);
  source.start(end);
  end += sound.duration;
});"""
SHORT = 2.0  # seconds of the clips of the example, at most: a prompt that is read soon


def build(service: Service, examples: Examples) -> None:
    gr.Markdown(
        "Give recordings and the text of each; the language model then writes the words of new audio for any of these "
        "texts, or for several in a row. One candidate alone is heard while it is written. A small model answers few "
        "questions, so think first with a larger one. The example has sounds for "
        "speech: the texts are their names, the template is `sound`."
    )
    example = example_button()
    rows = ClipRows("Text", "Recordings")
    Recorder(rows.files)
    text = gr.Textbox(label="Say this: one of the texts above, or several", max_length=1000)
    think = gr.Checkbox(label="Think first: it is a question, and its answer is one of the texts above")
    with gr.Row():
        template = gr.Dropdown([*SPOKEN], value="speak", label="Template")
        seconds = gr.Number(
            0, label="Seconds (0: as the recordings)", minimum=0, maximum=service.limits.generated_seconds
        )
        candidates = gr.Slider(1, CANDIDATES, 1, step=1, label="Candidates")
        rerank = gr.Dropdown([*RERANKERS], value="likelihood", label="What is best")
        seed = gr.Number(0, label="Seed of the candidates", precision=0, minimum=0)
    with gr.Row():
        go = gr.Button("Say it", variant="primary")
        stop = gr.Button("Stop")
    live = gr.HTML(None, html_template="", js_on_load=PLAY, elem_id="live", visible="hidden")
    said = player("What it says")
    about = drawing("said")
    words = drawing("written")

    def run(*values: Any) -> Iterator[list[Any]]:
        asked, thinks, kind, length, count, best, number, *shown = values
        spoken = [(name, path) for name, paths in rows.read(shown).items() for path in paths]
        settings = {"seconds": length or None, "template": kind}
        if thinks or count > 1:
            yield chosen(
                service, asked, spoken, think=thinks, candidates=int(count), seed=int(number), rerank=best, **settings
            )
        else:
            yield from streamed(service, asked, spoken, **settings)

    inputs = [text, think, template, seconds, candidates, rerank, seed, *rows.fields]
    outputs = [live, said, about, words]
    pressed = go.click(answering(run), inputs, outputs, **busy(about))
    filled = example.click(
        lambda: [*rows.filled(short(examples)), "tabla", False, "sound", 1.0, 1], None,
        [*rows.outputs, text, think, template, seconds, candidates], **QUIET,
    )  # fmt: skip
    shown = filled.then(answering(run), inputs, outputs, **busy(about))
    stop.click(None, cancels=[pressed, shown])


def short(examples: Examples) -> dict[str, list[str]]:
    """The labelled clips that are not longer than SHORT."""
    return {
        label: [path for path in paths if audio_info(path).seconds <= SHORT]
        for label, paths in examples.labelled.items()
    }


def streamed(service: Service, text: str, spoken: list[tuple[str, Path]], **settings: Any) -> Iterator[list[Any]]:
    """Values of the live player, the player, the facts and the words, again and again as they come."""
    codec, rate = service.codec, service.codec.sample_rate
    written: list[AudioCodes] = []
    pieces: list[Tensor] = []
    run = uuid.uuid4().hex
    for piece in service.speak_stream(text, spoken, on_codes=written.append, **settings):
        pieces.append(piece)
        samples = playable(torch.cat(pieces), rate)[1]
        value = {"run": run, "rate": rate, "samples": base64.b64encode(samples.tobytes()).decode()}
        progress = pictures.facts([("Written so far", f"{len(samples) / rate:.2f} s", "")])
        yield [value, None, progress, pictures.layers(codec, join_codes(written))]
    wave = torch.cat(pieces)
    yield [
        gr.skip(), playable(wave, rate), pictures.facts([("Length", f"{len(wave) / rate:.2f} s", "")]),
        pictures.layers(codec, join_codes(written)),
    ]  # fmt: skip


def chosen(service: Service, text: str, spoken: list[tuple[str, Path]], **settings: Any) -> list[Any]:
    """The same values for the best of several candidates, or for an answer that is thought first."""
    codec, rate = service.codec, service.codec.sample_rate
    found = service.speak(text, spoken, **settings)
    rows = [
        ("Said", " ".join(found.said), ""),
        ("Length", f"{len(found.wave) / rate:.2f} s", f"written in {found.seconds:.1f} s"),
        ("Score", f"{found.score:.2f}", f"{settings['rerank']}, the best of {len(found.scores)}"),
    ]
    if found.answer is not None:
        chances = sorted(found.answer.chances.items(), key=lambda pair: -pair[1])
        rows.append(("Thought", found.answer.text, ", ".join(f"{name} {chance:.0%}" for name, chance in chances[:5])))
    return [None, playable(found.wave, rate), pictures.facts(rows), pictures.layers(codec, found.codes)]
