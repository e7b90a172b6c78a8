"""A clip as words in time: where a word stands, how it sounds, what another in its place changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from torch import Tensor, nn

from llmcodec.audio import load_audio
from llmcodec.codec import AudioCodes, LLMCodec
from llmcodec.errors import ConfigError
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
from llmcodec.webapp.pictures import Place
from llmcodec.webapp.service import Service

WINDOW = 9.6  # seconds that are drawn at once
AROUND = 0.15  # seconds before and behind a word that are played with it
NEAREST = 40  # words to choose another from
# Highlights all buttons of the clicked word's kind, and tells the server which was clicked.
PICK = """element.addEventListener("click", (event) => {
  const word = event.target.closest("button[data-layer]");
  if (!word) return;
  for (const other of element.querySelectorAll("button[data-layer]"))
    other.ariaPressed = other.dataset.layer === word.dataset.layer && other.textContent === word.textContent;
  trigger("pick", {layer: Number(word.dataset.layer), place: Number(word.dataset.place)});
});"""


@dataclass(frozen=True)
class Clip:
    """wave [T] and codes of a clip; made: its codes as edited; decoded: what those sound like; chosen: a word of it."""

    wave: Tensor
    codes: AudioCodes
    made: AudioCodes
    decoded: Tensor
    chosen: Place | None = None

    @property
    def edited(self) -> set[Place]:
        """Words that are no longer the clip's own."""
        return {
            (layer, int(place))
            for layer, (own, made) in enumerate(zip(self.codes.layers, self.made.layers, strict=True))
            for place in (own[0] != made[0]).nonzero()
        }

    @property
    def code(self) -> int:
        """Of the chosen word."""
        assert self.chosen is not None
        layer, place = self.chosen
        return int(self.made.layers[layer][0, place])


def build(service: Service, examples: Examples) -> None:
    codec = service.codec
    gr.Markdown(
        "A clip in words. Click a word to see where else it stands and to hear it; then put another in its place."
    )
    example = example_button()
    given = clip_field("Clip")
    go = gr.Button("Show its words", variant="primary")
    state = gr.State()
    start = gr.Slider(0, WINDOW, 0, step=0.12, label="Show from (seconds)", visible=False)
    drawn = drawing("words", js_on_load=PICK, elem_classes="scroll")
    about = drawing("about")
    heard = player("The chosen word and what is around it", autoplay=True, visible=False)
    other = gr.Dropdown(
        [], label="Another word of that layer, the nearest in sound first; or type one", allow_custom_value=True,
        interactive=True,
    )  # fmt: skip
    everywhere = gr.Checkbox(label="Wherever the word stands", value=True)
    with gr.Row():
        put = gr.Button("Put it there and decode", variant="primary", min_width=220)
        undo = gr.Button("Back to the clip's own words", min_width=220)
    with gr.Row():
        before = player("Decoded from its own words")
        after = player("Decoded from the words as edited")

    def show(clip: Clip, begin: float) -> str:
        return pictures.words_in_time(codec, clip.wave, clip.made, window(codec, clip, begin), clip.edited)

    def noted(clip: Clip) -> str:
        return "" if clip.chosen is None else pictures.note(codec, clip.made, clip.chosen)

    def load(path: str | None) -> list[Any]:
        clip = open_clip(service, needed(path, "the clip"))
        sound = playable(clip.decoded, codec.sample_rate)
        seconds = len(clip.wave) / codec.sample_rate
        slider = gr.Slider(value=0, maximum=max(WINDOW, seconds), visible=seconds > WINDOW)
        return [clip, slider, show(clip, 0), "", gr.Audio(visible=False), gr.Dropdown([], value=None), sound, None]

    def pick(clip: Clip | None, event: gr.EventData) -> list[Any]:
        clip = choose(_opened(clip), event.layer, event.place)
        return [
            clip,
            noted(clip),
            gr.Audio(playable(around(codec, clip), codec.sample_rate), visible=True),
            gr.Dropdown(nearest(codec, clip), value=None),
        ]

    def edit(clip: Clip | None, word: str | None, all_of_them: bool, begin: float) -> list[Any]:
        clip = replaced(service, _opened(clip), word or "", all_of_them)
        return [clip, show(clip, begin), noted(clip), playable(clip.decoded, codec.sample_rate)]

    def restore(clip: Clip | None, begin: float) -> list[Any]:
        clip = _opened(clip)
        clip = replace(clip, made=clip.codes, decoded=service.decode(clip.codes))
        return [clip, show(clip, begin), noted(clip), None]

    loaded = [state, start, drawn, about, heard, other, before, after]
    go.click(answering(load), given, loaded, **busy(drawn))
    example.click(lambda: examples.query, None, given, **QUIET).then(answering(load), given, loaded, **busy(drawn))
    start.release(lambda clip, begin: show(clip, begin), [state, start], drawn, **QUIET)
    drawn.pick(answering(pick), state, [state, about, heard, other], **QUIET)
    put.click(answering(edit), [state, other, everywhere, start], [state, drawn, about, after], **busy(after))
    undo.click(answering(restore), [state, start], [state, drawn, about, after], **busy(after))


def open_clip(service: Service, path: Path) -> Clip:
    codes = service.encode(path)
    return Clip(load_audio(path, service.codec.sample_rate), codes, codes, service.decode(codes))


def window(codec: LLMCodec, clip: Clip, begin: float) -> range:
    """The frames to draw, from a whole unit on."""
    unit = codec.config.frames_multiple
    frames = -(-len(clip.wave) // codec.config.frame_samples)
    length = round(WINDOW * codec.frame_rate / unit) * unit
    start = round(begin * codec.frame_rate / unit) * unit
    start = max(0, min(start, -(-(frames - length) // unit) * unit))
    return range(start, min(start + length, frames))


def choose(clip: Clip, layer: Any, place: Any) -> Clip:
    """The clip with that word chosen. ConfigError: there is no such word."""
    known = isinstance(layer, int) and isinstance(place, int) and 0 <= layer < len(clip.made.layers)
    if not known or not 0 <= place < clip.made.layers[layer].shape[1]:
        raise ConfigError(f"the clip has no word {place} in layer {layer}; click one that is shown")
    return replace(clip, chosen=(layer, place))


def around(codec: LLMCodec, clip: Clip) -> Tensor:
    """The chosen word's sound [t], with a little before and behind it."""
    assert clip.chosen is not None
    layer, place = clip.chosen
    samples, margin = codec.config.frame_samples * codec.strides[layer], round(AROUND * codec.sample_rate)
    return clip.decoded[max(0, place * samples - margin) : (place + 1) * samples + margin]


def nearest(codec: LLMCodec, clip: Clip) -> list[str]:
    """Other words of the chosen word's layer, those that stand for the most similar sound first."""
    assert clip.chosen is not None
    layer = clip.chosen[0]
    table = nn.functional.normalize(codec.quantizer.layers[layer].get_buffer("table"), dim=1)
    likeness = table @ table[clip.code]
    likeness[clip.code] = -torch.inf
    words = codec.vocabularies[layer].words
    return [words[code] for code in likeness.topk(min(NEAREST, len(words) - 1)).indices.tolist()]


def replaced(service: Service, clip: Clip, word: str, everywhere: bool) -> Clip:
    """The clip with another word in place of the chosen one, or of all that are the same.

    ConfigError: no word is chosen, or the layer has no such word.
    """
    if clip.chosen is None:
        raise ConfigError("no word is chosen; click one in the picture first")
    layer, place = clip.chosen
    known = service.codec.vocabularies[layer].words
    if word not in known:
        name = service.codec.layer_names[layer]
        raise ConfigError(f"{word!r} is no word of the layer {name}; choose one of the list" if word else
                          "no other word is chosen; take one of the list")  # fmt: skip
    row = clip.made.layers[layer].clone()
    row[row == clip.code if everywhere else torch.arange(row.shape[1])[None] == place] = known.index(word)
    made = replace(clip.made, layers=(*clip.made.layers[:layer], row, *clip.made.layers[layer + 1 :]))
    return replace(clip, made=made, decoded=service.decode(made))


def _opened(clip: Clip | None) -> Clip:
    if clip is None:
        raise ConfigError("no clip is shown; choose one and show its words first")
    return clip
