"""Make a noisy clip cleaner, as pairs of noisy and clean clips show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from llmcodec.audio import load_audio
from llmcodec.errors import ConfigError
from llmcodec.webapp import pictures
from llmcodec.webapp.parts import (
    QUIET,
    Examples,
    Files,
    answering,
    busy,
    clip_field,
    drawing,
    example_button,
    files_field,
    needed,
    playable,
    player,
)
from llmcodec.webapp.service import Service


def build(service: Service, examples: Examples) -> None:
    gr.Markdown(
        "Give pairs of the same recordings with and without noise, paired in the order of their names, then a noisy "
        "clip: what the pairs show to be noise is turned down in it. No language model takes part. The example mixes "
        "hiss into the sounds inside the package."
    )
    example = example_button()
    with gr.Row():
        noisy = files_field("Noisy halves of the pairs", min_width=260)
        clean = files_field("Clean halves of the pairs", min_width=260)
    given = clip_field("Noisy clip")
    go = gr.Button("Clean it", variant="primary")
    with gr.Row():
        with gr.Column(min_width=300):
            before = player("Before")
            noise_picture = drawing("noisy")
        with gr.Column(min_width=300):
            after = player("After")
            clean_picture = drawing("cleaned")

    inputs, outputs = [given, noisy, clean], [before, noise_picture, after, clean_picture]
    run = answering(lambda *values: enhance(service, *values))
    go.click(run, inputs, outputs, **busy(clean_picture))
    example.click(
        lambda: (examples.noisy_query, examples.noisy, examples.clean), None, inputs, **QUIET
    ).then(run, inputs, outputs, **busy(clean_picture))  # fmt: skip


def enhance(service: Service, given: str | None, noisy: Files, clean: Files) -> tuple[Any, str, Any, str]:
    """Player and picture of the clip, player and picture of what was made of it."""
    path = needed(given, "the noisy clip")
    rate = service.codec.sample_rate
    made = service.enhance(path, pairs(noisy, clean))
    wave = load_audio(path, rate)
    return (
        playable(wave, rate), pictures.sound(wave, rate, "before"),
        playable(made, rate), pictures.sound(made, rate, "after"),
    )  # fmt: skip


def pairs(noisy: Files, clean: Files) -> list[tuple[Path, Path]]:
    """Both halves in the order of their names. ConfigError: not as many of the one as of the other."""
    first, second = (sorted(map(Path, paths or ()), key=lambda path: path.name) for paths in (noisy, clean))
    if len(first) != len(second):
        raise ConfigError(f"{len(first)} noisy and {len(second)} clean clips make no pairs; as many of both are needed")
    return list(zip(first, second, strict=True))
