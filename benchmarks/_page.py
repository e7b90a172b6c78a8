"""One HTML page of sounds: a player, the spectrogram and the words of each, with no other file needed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment
from torch import Tensor

from llmcodec.codec import LLMCodec
from llmcodec.errors import ConfigError
from llmcodec.evaluation.html import audio_address, data_address
from llmcodec.evaluation.provenance import write_text

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title><style>
:root { color-scheme: light dark; } body { font: 16px/1.5 system-ui, sans-serif;
  max-width: 72rem; margin: 0 auto; padding: 1rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr)); gap: 1rem; }
.clip { border: 1px solid #8886; border-radius: .5rem; padding: .6rem; overflow-wrap: anywhere; }
audio, img { width: 100%; } .words { font-size: .8rem; opacity: .75; }
</style></head><body><h1>{{ title }}</h1><p class="words">{{ facts }}</p><div class="grid">
{% for clip in clips %}<div class="clip"><b>{{ clip.title }}</b>
<audio controls preload="none" src="{{ clip.audio }}"></audio>
<img alt="spectrogram of {{ clip.title }}" src="{{ clip.picture }}"><p class="words">{{ clip.words }}</p></div>
{% endfor %}</div></body></html>
"""


def write_page(path: Path, title: str, made: dict[str, Any], clips: Sequence[dict[str, Any]], codec: LLMCodec) -> None:
    """clips: each with title and wave [T] at the codec's rate; the words are those that the codec hears in it."""
    rows = [
        {
            "title": clip["title"],
            "audio": audio_address(clip["wave"], codec.sample_rate),
            "picture": data_address(_spectrogram(clip["wave"]), "image/png"),
            "words": _words(clip["wave"], codec),
        }
        for clip in clips
    ]
    facts = f"{made['date'][:10]}, commit {made['commit']}, seed {made['seed']}"
    page = Environment(autoescape=True).from_string(PAGE)
    write_text(path, page.render(title=title, facts=facts, clips=rows))


def _words(wave: Tensor, codec: LLMCodec) -> str:
    codes = codec.encode(wave)
    return " ".join(codec.vocabularies[0].words[code] for code in codes.layers[0][0].tolist())


def _spectrogram(wave: Tensor) -> bytes:
    """A picture of 320 Hz to 8 kHz, 80 dB deep, as PNG."""
    try:
        from matplotlib import image
    except ImportError as error:
        raise ConfigError("the page needs matplotlib: pip install 'llmcodec[eval]'") from error
    padded = torch.nn.functional.pad(wave, (0, max(0, 640 - len(wave))))
    spectrum = torch.stft(padded, 512, 160, window=torch.hann_window(512), return_complex=True)
    level = (20 * spectrum.abs().clamp(min=1e-5).log10()).numpy()
    file = io.BytesIO()
    image.imsave(file, np.flipud(level), cmap="magma", vmin=level.max() - 80, vmax=level.max(), format="png")
    return file.getvalue()
