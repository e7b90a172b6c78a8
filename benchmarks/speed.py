#!/usr/bin/env python3
"""How fast a codec encodes and decodes one clip, in one process, and how much memory that takes.

    python benchmarks/speed.py --threads 2 --runs 9

The clip is seeded noise with the spectrum and the rhythm of speech, or --file. Times are medians after a warm-up.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _common
import torch
from torch import Tensor

from llmcodec.audio import load_audio
from llmcodec.errors import ConfigError
from llmcodec.evaluation.provenance import provenance


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--file", type=Path, help="clip to use instead of noise")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the noise")
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args(argv)
    if arguments.runs < 1 or not arguments.seconds > 0:
        raise ConfigError("--runs must be 1 or more and --seconds above 0")
    _common.set_threads(arguments)
    codec, named = _common.load_codec(arguments.codec)
    loaded = peak_megabytes()
    if arguments.file is None:
        wave = speech_like(arguments.seconds, codec.sample_rate, arguments.seed)
    else:
        wave = load_audio(arguments.file, codec.sample_rate)
    seconds = len(wave) / codec.sample_rate
    codes = codec.encode(wave)
    rows: list[dict[str, Any]] = []
    for name, step in (("encode", lambda: codec.encode(wave)), ("decode", lambda: codec.decode(codes))):
        times = measure(step, arguments.runs)
        median = statistics.median(times)
        rows.append({"step": name, "median_s": median, "times_real_time": seconds / median, "runs_s": times})
    peaks = {"model_loaded": loaded, "at_end": peak_megabytes()}
    content = {
        "codec": named,
        "clip": {"seconds": seconds, "source": arguments.file.name if arguments.file else "speech-like noise"},
        "device": str(codec.device),
        "rows": rows,
        "peak_memory_mb": peaks,
        "provenance": provenance(arguments.seed),
    }
    lines = [[row["step"], f"{1000 * row['median_s']:.1f} ms", f"{row['times_real_time']:.0f}"] for row in rows]
    summary = f"{seconds:.1f} s, median of {arguments.runs}, {torch.get_num_threads()} threads; peak memory (MB): "
    memory = ", ".join(f"{name.replace('_', ' ')} {size}" for name, size in peaks.items())
    _common.report(
        arguments, content, summary + memory + "\n\n" + _common.table(["step", "time", "times real time"], lines)
    )
    return 0


def measure(step: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each run, after two that do not count."""
    times = []
    for _ in range(runs + 2):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times[2:]


def speech_like(seconds: float, sample_rate: int, seed: int) -> Tensor:
    """Noise that falls by 6 dB an octave above 500 Hz, in four syllables a second: float32 [T], peak 0.5."""
    count = max(1, round(seconds * sample_rate))
    noise = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    spectrum = torch.fft.rfft(noise)
    hertz = torch.linspace(0, sample_rate / 2, len(spectrum))
    shaped = torch.fft.irfft(spectrum / (1 + hertz / 500), n=count)
    shaped = shaped * torch.sin(torch.pi * 4 * torch.arange(count) / sample_rate).square()
    return 0.5 * shaped / shaped.abs().max().clamp(min=1e-9)


def peak_megabytes() -> int | None:
    """The largest resident memory of this process so far; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


if __name__ == "__main__":
    _common.run(main)
