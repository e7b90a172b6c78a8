"""What the page draws, as HTML: sounds, words in time, answers. All text in it is escaped by the template."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import torch
from jinja2 import Environment
from torch import Tensor, nn

from llmcodec.codec import AudioCodes, LLMCodec
from llmcodec.drawing import FLOOR, data_address, shade, sound_address, spectrogram

COLUMNS = 1200  # of a waveform or spectrogram, at most
ROWS = 128  # of a spectrogram
HUES = 18
TIMES = 12  # at which a word stands, that are told
MAGMA = ((0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191))  # quiet to loud
ACROSS = 4  # frames that are wide enough for a word written across
Place = tuple[int, int]  # a word of a clip: layer, place in that layer


@cache
def _macros() -> Any:
    text = (resources.files("llmcodec") / "data" / "page.html.jinja").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(text).module


def sound(wave: Tensor, sample_rate: int, title: str) -> str:
    """Waveform and spectrogram of a clip [T]."""
    return str(_macros().sound(_picture(wave, sample_rate), title))


def words_in_time(codec: LLMCodec, wave: Tensor, codes: AudioCodes, stretch: range, edited: Collection[Place]) -> str:
    """A stretch of a clip, whole units counted in frames: waveform, spectrogram and every layer's words as buttons.

    wave: the whole clip [T]; edited: the words to mark as changed.
    """
    samples = codec.config.frame_samples
    part = wave[stretch.start * samples : stretch.stop * samples]
    rows = []
    for layer, (name, stride) in enumerate(zip(codec.layer_names, codec.strides, strict=True)):
        shown = codes.layers[layer][0, stretch.start // stride : -(-stretch.stop // stride)].tolist()
        words = [
            {
                "place": place, "text": text, "hue": hue(text), "edited": (layer, place) in edited,
                "time": f"{place * stride / codec.frame_rate:.2f}",
                "span": min(stride, stretch.stop - place * stride),
            }
            for place, text in enumerate((codec.vocabularies[layer].words[code] for code in shown),
                                         stretch.start // stride)
        ]  # fmt: skip
        milliseconds = round(1000 * stride / codec.frame_rate)
        rows.append(
            {"name": name, "layer": layer, "milliseconds": milliseconds, "across": stride >= ACROSS, "words": words}
        )
    picture = _picture(part, codec.sample_rate) | {"begin": round(stretch.start / codec.frame_rate, 2)}
    width = 100 * len(part) / (len(stretch) * samples)
    return str(_macros().words(picture, rows, len(stretch), round(codec.frame_rate, 4), round(width, 2)))


@dataclass(frozen=True)
class Card:
    """One clip that was classified.

    chances: probability of each label; words: those of the clip; reasons: words that decided, with the label of each;
    heard, decoded: the clip and what its words decode to [T].
    """

    name: str
    chances: Mapping[str, float]
    words: Sequence[str]
    reasons: Mapping[str, str]
    heard: Tensor
    decoded: Tensor


def answers(cards: Sequence[Card], sample_rate: int) -> str:
    """What was found for each query, the likeliest label first, with players."""
    return str(_macros().results([_shown(card, sample_rate) for card in cards]))


def facts(rows: Sequence[tuple[str, str, str]]) -> str:
    """A table of names, values and what they mean."""
    return str(_macros().facts([{"name": name, "value": value, "note": note} for name, value, note in rows]))


def layers(codec: LLMCodec, codes: AudioCodes) -> str:
    """The words of a clip, layer after layer."""
    rows = [
        {"name": name, "words": [{"text": text, "hue": hue(text)} for text in row]}
        for name, row in codec.words(codes).items()
    ]
    return str(_macros().layers(rows))


def note(codec: LLMCodec, codes: AudioCodes, chosen: Place) -> str:
    """Where the chosen word stands in its layer."""
    layer, place = chosen
    row = codes.layers[layer][0]
    text = codec.vocabularies[layer].words[int(row[place])]
    step = codec.strides[layer] / codec.frame_rate
    times = [f"{number * step:.2f}" for number in (row == row[place]).nonzero().flatten().tolist()]
    word = {"text": text, "hue": hue(text)}
    return str(_macros().note(codec.layer_names[layer], word, times[:TIMES], len(times[TIMES:])))


def hue(text: str) -> int:
    """The colour of a word or label, in degrees."""
    return 360 // HUES * shade(text, HUES)


def _shown(card: Card, sample_rate: int) -> dict[str, Any]:
    ranked = sorted(card.chances.items(), key=lambda pair: -pair[1])
    return {
        "name": card.name,
        "said": ranked[0][0],
        "chances": [{"label": label, "value": round(value, 4), "percent": f"{value:.0%}"} for label, value in ranked],
        "words": [
            {"text": word, "label": card.reasons.get(word), "hue": hue(card.reasons.get(word, ""))}
            for word in card.words
        ],
        "reasons": [{"word": word, "label": label, "hue": hue(label)} for word, label in card.reasons.items()],
        "heard": sound_address(card.heard, sample_rate),
        "decoded": sound_address(card.decoded, sample_rate),
    }


def _picture(wave: Tensor, sample_rate: int) -> dict[str, Any]:
    columns = min(COLUMNS, len(wave))
    return {
        "outline": "".join(_outline(wave, columns)),
        "columns": columns,
        "spectrogram": _image(spectrogram(wave, sample_rate)),
        "khz": sample_rate // 2000,
        "seconds": f"{len(wave) / sample_rate:.2f}",
    }


def _outline(wave: Tensor, columns: int) -> Iterator[str]:
    """An SVG path through the largest, then back through the smallest sample of each column; y points down."""
    upper = nn.functional.adaptive_max_pool1d(wave[None], columns)[0]
    lower = -nn.functional.adaptive_max_pool1d(-wave[None], columns)[0]
    thick = 0.01  # so that silence is seen
    yield "M"
    for column, height in enumerate((-upper - thick).tolist()):
        yield f"{column} {height:.2f}L"
    for column, height in reversed(list(enumerate((thick - lower).tolist()))):
        yield f"{column} {height:.2f}{'L' if column else 'Z'}"


def _image(decibels: Tensor) -> str:
    """Decibels [frequencies, times] as the address of a PNG."""
    from PIL import Image

    size = (min(ROWS, len(decibels)), min(COLUMNS, decibels.shape[1]))
    small = nn.functional.adaptive_avg_pool2d(decibels[None], size)[0]
    levels = ((small - small.max()) / FLOOR + 1).clamp(0, 1) * 63  # 64 are enough for the eye, and pack well
    image = Image.fromarray(levels.flip(0).to(torch.uint8).numpy(), "P")
    places = np.linspace(0, 63, len(MAGMA))
    image.putpalette(
        np.stack([np.interp(np.arange(64), places, channel) for channel in np.transpose(MAGMA)], 1)
        .astype(np.uint8)
        .tobytes()
    )
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return data_address(file.getvalue(), "image/png")
