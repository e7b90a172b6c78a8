"""What the tabs share: fields, players, the clips inside the package, errors as sentences."""

from __future__ import annotations

import html
import inspect
import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmcodec.audio import FILE_SUFFIXES, load_audio, pcm16, save_audio
from llmcodec.errors import ConfigError, LLMCodecError

log = logging.getLogger(__name__)

UNEXPECTED = "Something went wrong here; the server's log says what."
SHOWN = 30.0  # seconds that an error stays
ROWS_SHOWN, ROWS = 2, 8
NOISE_DB = 5.0  # by which the sounds of the example are louder than their noise
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}  # options of an event without a wait
_PLAIN: dict[str, Any] = {"waveform_options": {"show_recording_waveform": False}}  # the browser's own player
_FOLDERS = re.escape(tempfile.gettempdir()) + r"[\\/](?:[\w-]+[\\/])*"
Files = Sequence[str] | None


def answering(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function behind a button, its errors as sentences on the page."""

    @wraps(function)
    def answer(*inputs: Any) -> Any:
        with _sentences():
            return function(*inputs)

    @wraps(function)
    def answers(*inputs: Any) -> Iterator[Any]:
        with _sentences():
            yield from function(*inputs)

    return answers if inspect.isgeneratorfunction(function) else answer


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        message = UNEXPECTED
        if isinstance(error, LLMCodecError):
            message = re.sub(_FOLDERS, "", str(error))  # users know the file's own name
        else:
            log.exception("on the page")
        raise gr.Error(html.escape(message), duration=SHOWN, print_exception=False) from error


def clip_field(label: str, **options: Any) -> gr.Audio:
    """Where a clip is dropped or recorded."""
    return gr.Audio(type="filepath", label=label, editable=False, buttons=["download"], **_PLAIN, **options)


def player(label: str, **options: Any) -> gr.Audio:
    """Where a clip is heard, see `playable`."""
    return gr.Audio(
        type="numpy", label=label, interactive=False, buttons=["download"], min_width=260, **_PLAIN, **options
    )


def drawing(name: str, **options: Any) -> gr.HTML:
    """Where the HTML of `pictures` is shown."""
    return gr.HTML(elem_id=name, apply_default_css=False, **options)


def files_field(label: str, **options: Any) -> gr.File:
    """Where several clips are dropped."""
    return gr.File(label=label, file_count="multiple", file_types=sorted(FILE_SUFFIXES), height=165, **options)


def example_button() -> gr.Button:
    return gr.Button("Try it with the sounds inside the package", variant="secondary")


def playable(wave: Tensor, sample_rate: int) -> tuple[int, npt.NDArray[np.int16]]:
    """A waveform [T] for a player, as loud as it is."""
    return sample_rate, pcm16(wave)


def needed(path: str | None, what: str) -> Path:
    """ConfigError if the field is empty."""
    if not path:
        raise ConfigError(f"{what} is missing; drop a file or record one")
    return Path(path)


class ClipRows:
    """Rows of a text and the clips it names; some are shown, a click shows one more."""

    def __init__(self, what: str, clips: str) -> None:
        self.what = what
        self.rows: list[gr.Column] = []
        self.texts: list[gr.Textbox] = []
        self.files: dict[str, gr.File] = {}  # by their label
        with gr.Row():
            for number in range(1, ROWS + 1):
                with gr.Column(visible=number <= ROWS_SHOWN, min_width=440) as row:
                    self.texts.append(gr.Textbox(label=f"{what} {number}", max_length=100))
                    label = f"{clips} of {what.lower()} {number}"
                    self.files[label] = files_field(label)
                self.rows.append(row)
        self.count = gr.State(ROWS_SHOWN)
        more = gr.Button(f"One more {what.lower()}", size="sm")
        more.click(lambda count: self._shown(count + 1), self.count, [self.count, *self.rows], **QUIET)

    @property
    def fields(self) -> list[Any]:
        """Texts, then files: what `read` takes the values of."""
        return [*self.texts, *self.files.values()]

    @property
    def outputs(self) -> list[Any]:
        """What `filled` gives values for."""
        return [self.count, *self.rows, *self.fields]

    def filled(self, known: dict[str, list[str]]) -> list[Any]:
        """Values of `outputs` that show these texts and clips."""
        empty = [None] * (ROWS - len(known))
        return [*self._shown(len(known)), *known, *empty, *known.values(), *empty]

    def read(self, values: Sequence[Any]) -> dict[str, list[Path]]:
        """Values of `fields` -> clips by text. ConfigError: a text without clips, clips without a text."""
        found: dict[str, list[Path]] = {}
        for number, (text, clips) in enumerate(zip(values[:ROWS], values[ROWS:], strict=True), 1):
            text = " ".join((text or "").split())
            if text and not clips:
                raise ConfigError(f"{self.what} {number}, {text!r}, has no clips; drop one at least, or clear it")
            if clips and not text:
                raise ConfigError(f"{self.what} {number} has clips but no name; write it beside them")
            if text:
                found.setdefault(text, []).extend(map(Path, clips))
        return found

    def _shown(self, count: int) -> list[Any]:
        count = min(max(count, ROWS_SHOWN), ROWS)
        return [count, *(gr.Column(visible=number < count) for number in range(ROWS))]


def busy(where: gr.components.Component) -> dict[str, Any]:
    """Options of an event that takes a while: waiting, or that it failed, is shown in one place."""
    return {"show_progress": "full", "show_progress_on": where, "api_visibility": "private"}


class Recorder:
    """Record a clip into one of several fields of files."""

    def __init__(self, places: dict[str, gr.File]) -> None:
        with gr.Accordion("Record a clip", open=False):
            clip = clip_field("Recording", sources=["microphone"])
            place = gr.Dropdown(list(places), value=next(iter(places)), label="Put it into")
            add = gr.Button("Put it there", size="sm")
        fields = list(places.values())

        def put(recording: str | None, chosen: str, *held: Files) -> list[Any]:
            path = str(needed(recording, "the recording"))
            return [None, *([*(paths or []), path] if name == chosen else gr.skip() for name, paths in
                            zip(places, held, strict=True))]  # fmt: skip

        add.click(answering(put), [clip, place, *fields], [clip, *fields], **QUIET)


class Examples:
    """The clips inside the package, and noisy copies of them, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with as_file(files("llmcodec") / "data" / "demo") as packaged:
            shutil.copytree(packaged, self.folder, dirs_exist_ok=True)
        self.labelled = {
            place.name: sorted(map(str, place.iterdir()))
            for place in sorted((self.folder / "demonstrations").iterdir())
        }
        self.queries = sorted(map(str, (self.folder / "queries").iterdir()))
        clean = [path for paths in self.labelled.values() for path in paths]
        self.clean, self.noisy = clean, [self._noisy(path, seed) for seed, path in enumerate(clean)]
        self.query, self.noisy_query = self.queries[3], self._noisy(self.queries[3], len(clean))

    def _noisy(self, path: str, seed: int) -> str:
        """A copy with seeded white noise."""
        target = self.folder / "noisy" / f"{Path(path).stem}.wav"
        target.parent.mkdir(exist_ok=True)
        wave = load_audio(path)
        noise = torch.randn(len(wave), generator=torch.Generator().manual_seed(seed))
        save_audio(target, wave + noise * wave.std() * 10 ** (-NOISE_DB / 20), overwrite=True)
        return str(target)
