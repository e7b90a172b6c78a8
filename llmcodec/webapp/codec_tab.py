"""A clip beside what its words decode to."""

from __future__ import annotations

import math
from typing import Any

import gradio as gr

from llmcodec.audio import load_audio
from llmcodec.codec import AudioCodes, LLMCodec
from llmcodec.errors import ModelError
from llmcodec.evaluation.metrics import mel_distance, stoi
from llmcodec.webapp import pictures
from llmcodec.webapp.parts import (
    QUIET,
    Examples,
    answering,
    busy,
    clip_field,
    drawing,
    example_button,
    needed,
    playable,
    player,
)
from llmcodec.webapp.service import Service


def build(service: Service, examples: Examples) -> None:
    gr.Markdown("A clip, and the same clip out of nothing but its words.")
    example = example_button()
    clip = clip_field("Clip")
    go = gr.Button("Encode and decode", variant="primary")
    with gr.Row():
        with gr.Column(min_width=300):
            original = player("Original, as the codec hears it")
            before = drawing("original")
        with gr.Column(min_width=300):
            decoded = player("Decoded from its words")
            after = drawing("decoded")
    table = drawing("facts")

    outputs = [original, before, decoded, after, table]
    run = answering(lambda path: compare(service, path))
    go.click(run, clip, outputs, **busy(table))
    example.click(lambda: examples.queries[1], None, clip, **QUIET).then(run, clip, outputs, **busy(table))


def compare(service: Service, given: str | None) -> tuple[Any, str, Any, str, str]:
    """Player and picture of the clip, player and picture of its decoding, and the figures."""
    path = needed(given, "the clip")
    codec, rate = service.codec, service.codec.sample_rate
    codes = service.encode(path)
    made, wave = service.decode(codes), load_audio(path, rate)
    return (
        playable(wave, rate),
        pictures.sound(wave, rate, "original"),
        playable(made, rate),
        pictures.sound(made, rate, "decoded"),
        pictures.facts(
            [
                ("Length", f"{len(wave) / rate:.2f} s", f"{rate / 1000:g} kHz, mono"),
                ("Words", f"{sum(row.numel() for row in codes.layers)}", _different(codec, codes)),
                ("Words a second", f"{codec.tokens_per_second:.1f}", ""),
                ("Bitrate", f"{codec.bits_per_second:.0f} bit/s", f"16-bit samples: {16 * rate} bit/s"),
                ("Mel distance", f"{mel_distance(wave, made, rate):.2f} dB", "0 is the same"),
                ("STOI", *_stoi(wave, made, rate)),
            ]
        ),
    )


def _different(codec: LLMCodec, codes: AudioCodes) -> str:
    counts = [f"{len(row.unique())} {name}" for name, row in zip(codec.layer_names, codes.layers, strict=True)]
    return f"different ones: {', '.join(counts)}"


def _stoi(wave: Any, made: Any, rate: int) -> tuple[str, str]:
    """Value and note."""
    try:
        value = stoi(wave, made, rate)
    except ModelError as error:
        return "not measured", str(error)
    if math.isnan(value):
        return "not measured", "too short, or too quiet"
    return f"{value:.2f}", "intelligibility of speech, 1 is best; means little for other sounds"
