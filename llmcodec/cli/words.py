"""`words`: what the codec hears in a clip, word by word in time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmcodec.cli.common import (
    CodecOption,
    ForceOption,
    JsonOption,
    check_output,
    load_codec,
    print_json,
    progress,
    stream_codes,
)
from llmcodec.errors import ConfigError

if TYPE_CHECKING:
    from llmcodec.codec import AudioCodes, LLMCodec

PICTURE_SECONDS = 10.0


def words(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An audio file, or codes made by encode.")],
    layer: Annotated[list[str] | None, typer.Option(help="Show this layer only; may be repeated.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.01, help="Show the beginning only.")] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help=f"Draw waveform, spectrogram and words as .png, .pdf or .svg: {PICTURE_SECONDS:.0f} s or SECONDS."
        ),
    ] = None,
    codec: CodecOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print the words of a clip, layer by layer in time."""
    if picture:
        check_output(picture, force)
    model = load_codec(codec)
    shown = layer or list(model.layer_names)
    for name in shown:
        if name not in model.layer_names:
            raise ConfigError(f"the codec has no layer {name!r}; it has {', '.join(model.layer_names)}")
    codes = beginning(model, file, seconds if seconds or not picture else PICTURE_SECONDS)
    said = {name: row for name, row in model.words(codes).items() if name in shown}
    step = {name: stride / model.frame_rate for name, stride in zip(model.layer_names, model.strides, strict=True)}
    if picture:
        from llmcodec.cli.picture import draw

        draw(picture, model, file, codes, said, step)
        if not as_json:
            typer.echo(f"{picture}: the first {int(codes.samples) / model.sample_rate:.2f} s")
            return
    if as_json:
        layers = {name: {"seconds_per_word": step[name], "words": row} for name, row in said.items()}
        print_json({"file": str(file), "seconds": int(codes.samples) / model.sample_rate, "layers": layers})
        return
    for line in _table(said, step, model.config.frames_multiple / model.frame_rate):
        typer.echo(line)


def beginning(codec: LLMCodec, file: Path, seconds: float | None) -> AudioCodes:
    """The codes of the first `seconds` of a file, whole when None; no more of it is read than they need."""
    from llmcodec.codec import AudioCodes, join_codes

    pieces: list[AudioCodes] = []
    wanted = float("inf") if seconds is None else round(seconds * codec.sample_rate)
    with progress() as bar:
        task = bar.add_task(file.name, total=seconds)
        for piece in stream_codes(codec, file):
            pieces.append(piece)
            bar.advance(task, int(piece.samples) / codec.sample_rate)
            if sum(int(piece.samples) for piece in pieces) >= wanted:
                break
    codes = join_codes(pieces)
    if codes.samples <= wanted:
        return codes
    frames = -(-int(wanted) // codec.config.frame_samples)
    layers = tuple(row[:, : -(-frames // stride)] for row, stride in zip(codes.layers, codec.strides, strict=True))
    return AudioCodes(layers, codes.samples.clamp(max=int(wanted)))


def _table(said: dict[str, list[str]], step: dict[str, float], row_seconds: float) -> Iterator[str]:
    """One line per `row_seconds`: the time and the words of each layer."""
    columns = {}
    for name, row in said.items():
        size = round(row_seconds / step[name])
        columns[name] = [name] + [" ".join(row[start : start + size]) for start in range(0, len(row), size)]
    widths = [max(map(len, column)) for column in columns.values()]
    for number, cells in enumerate(zip_longest(*columns.values(), fillvalue="")):
        time = f"{(number - 1) * row_seconds:8.2f}" if number else " seconds"
        yield "  ".join([time, *(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))]).rstrip()
