"""A clip as a picture: waveform, spectrogram and the words of each layer in time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmcodec.cli.common import CODES_SUFFIX, missing_extra
from llmcodec.errors import ConfigError
from llmcodec.temporary import atomic_output

if TYPE_CHECKING:
    from torch import Tensor

    from llmcodec.codec import AudioCodes, LLMCodec

MAX_SECONDS = 60.0
INCHES_PER_SECOND = 3.0  # a word of 30 ms has room for its letters, upright


def draw(
    path: Path, codec: LLMCodec, file: Path, codes: AudioCodes, said: dict[str, list[str]], step: dict[str, float]
) -> None:
    """Write the picture of `file`, whose codes are `codes` and whose words are `said`, a word every `step` seconds."""
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ConfigError(f"{path}: cannot draw {path.suffix or 'a file without suffix'}; use .png, .pdf or .svg")
    seconds = int(codes.samples) / codec.sample_rate
    if seconds > MAX_SECONDS:
        raise ConfigError(
            f"{path}: {seconds:.0f} s are too wide for a picture; choose --seconds up to {MAX_SECONDS:.0f}"
        )
    import numpy as np

    from llmcodec.drawing import shade, spectrogram

    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("a picture", error, "eval") from error

    wave = _wave(codec, file, codes)
    figure = Figure(figsize=(1.5 + INCHES_PER_SECOND * max(1.0, seconds), 4.5 + 0.8 * len(said)), layout="constrained")
    heights = [1.2, 2.0, *[0.8] * len(said)]
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    figure.suptitle(file.name)
    axes[0].plot(np.arange(len(wave)) / codec.sample_rate, wave.numpy(), linewidth=0.4, color="black")
    axes[0].set_ylabel("waveform")
    axes[1].imshow(
        spectrogram(wave, codec.sample_rate).numpy(), origin="lower", aspect="auto", cmap="magma",
        extent=(0, seconds, 0, codec.sample_rate / 2000),
    )  # fmt: skip
    axes[1].set_ylabel("kHz")
    palette = colormaps["tab20"](range(20))[:, :3]
    for axis, (name, row) in zip(axes[2:], said.items(), strict=True):
        spans = [(number * step[name], step[name]) for number in range(len(row))]
        colours = [(*palette[shade(word, len(palette))], 0.4) for word in row]  # the same for the same word
        axis.broken_barh(spans, (0, 1), facecolors=colours, edgecolor="white", linewidth=0.5)
        for word, (start, width) in zip(row, spans, strict=True):
            axis.text(start + width / 2, 0.5, word, rotation=90, ha="center", va="center", fontsize=5, clip_on=True)
        axis.set(ylabel=name, yticks=[], ylim=(0, 1))
    axes[-1].set(xlabel="seconds", xlim=(0, seconds))
    with atomic_output(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _wave(codec: LLMCodec, file: Path, codes: AudioCodes) -> Tensor:
    """The samples that `codes` stand for: the file's own, or decoded when it holds codes."""
    import torch

    from llmcodec.audio import stream_audio

    samples = int(codes.samples)
    if file.suffix == CODES_SUFFIX:
        return codec.decode(codes)[0]
    pieces: list[Tensor] = []
    for piece in stream_audio(file, codec.sample_rate):
        pieces.append(piece)
        if sum(map(len, pieces)) >= samples:
            break
    return torch.cat(pieces)[:samples]
