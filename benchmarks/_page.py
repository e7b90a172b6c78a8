"""One HTML page of sounds: a player, the spectrogram and the words of each, with no other file needed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment
from torch import Tensor

from llmcodec.codec import LLMCodec
from llmcodec.drawing import data_address, sound_address, spectrogram
from llmcodec.errors import ConfigError
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
            "audio": sound_address(clip["wave"], codec.sample_rate),
            "picture": data_address(_picture(clip["wave"], codec), "image/png"),
            "words": _words(clip["wave"], codec),
        }
        for clip in clips
    ]
    facts = f"{made['date'][:10]}, commit {made['commit']}, seed {made['seed']}"
    page = Environment(autoescape=True).from_string(PAGE)
    write_text(path, page.render(title=title, facts=facts, clips=rows))


def _words(wave: Tensor, codec: LLMCodec) -> str:
    return " ".join(codec.words(codec.encode(wave))[codec.layer_names[0]])


def _picture(wave: Tensor, codec: LLMCodec) -> bytes:
    """A spectrogram as PNG."""
    try:
        from matplotlib import image
    except ImportError as error:
        raise ConfigError("the page needs matplotlib: pip install 'llmcodec[eval]'") from error
    file = io.BytesIO()
    image.imsave(file, spectrogram(wave, codec.sample_rate).flip(0).numpy(), cmap="magma", format="png")
    return file.getvalue()
