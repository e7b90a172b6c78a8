#!/usr/bin/env python3
"""How fast codecs encode and decode, in one process, and how much memory that takes.

    python benchmarks/speed.py --threads 2 --seconds 1 10 600 3600 --peers conv conv-per-call encodec dac mimi

The clip is seeded noise with the spectrum and the rhythm of speech. Times are medians after a warm-up; systems take
turns, run by run, so that what slows the machine slows all. Peers have random weights. More than a minute is a stream
of minutes, run once, by the codec alone.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import _common
import torch
from _peers import PEERS, System, peer
from torch import Tensor

from llmcodec.codec import LLMCodec, join_codes
from llmcodec.errors import ConfigError, ModelError
from llmcodec.evaluation.provenance import provenance

LONG = 60.0  # seconds; what is longer is a stream


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0], help="lengths of the clip")
    parser.add_argument("--peers", nargs="*", default=[], choices=list(PEERS), help="what to time beside it")
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args(argv)
    if arguments.runs < 1 or not all(seconds > 0 for seconds in arguments.seconds):
        raise ConfigError("--runs must be 1 or more and --seconds above 0")
    _common.set_threads(arguments)
    codec, named = _common.load_codec(arguments.codec)
    peaks = {"model_loaded": peak_megabytes()}
    systems = [System("llmcodec", codec.sample_rate, codec.encode, codec.decode)]
    rows: list[dict[str, Any]] = []
    missing: list[str] = []
    for seconds in sorted(arguments.seconds):  # the codec alone first: what follows would hide its peak of memory
        found = stream(codec, seconds, arguments) if seconds > LONG else compare(systems, seconds, arguments)
        rows += [{**line, "alone": True} for line in found]
        peaks[f"after_{seconds:g}_s"] = peak_megabytes()
    for name in arguments.peers:
        try:
            systems.append(peer(name))
        except ModelError as error:
            missing.append(str(error))
    for seconds in sorted(arguments.seconds) if len(systems) > 1 else ():
        if seconds <= LONG:
            rows += [{**line, "alone": False} for line in compare(systems, seconds, arguments)]
    content = {
        "codec": named,
        "clip": "speech-like noise",
        "device": str(codec.device),
        "rows": rows,
        "missing": missing,
        "peak_memory_mb": peaks,
        "provenance": provenance(arguments.seed),
    }
    lines = [
        [line["system"], f"{line['seconds']:g} s", line["step"], f"{1000 * line['median_s']:.0f} ms",
         f"{line['times_real_time']:.1f}"]
        for line in rows
    ]  # fmt: skip
    memory = ", ".join(f"{name.replace('_', ' ')} {size}" for name, size in peaks.items())
    notes = f"{torch.get_num_threads()} threads, median of {arguments.runs}; peak memory of the codec (MB): {memory}"
    table = _common.table(["codec", "clip", "step", "time", "times real time"], lines)
    _common.report(arguments, content, "\n\n".join([notes, table, *missing]))
    return 0


def compare(systems: Sequence[System], seconds: float, arguments: Any) -> list[dict[str, Any]]:
    """A row for encoding and one for decoding with each system."""
    steps: dict[tuple[str, str], Callable[[], object]] = {}
    with torch.inference_mode():
        for system in systems:
            wave = speech_like(seconds, system.sample_rate, arguments.seed)
            codes = system.encode(wave)
            steps[system.name, "encode"] = partial(system.encode, wave)
            steps[system.name, "decode"] = partial(system.decode, codes)
        times = measure(steps, arguments.runs)
    return [row(name, step, seconds, found) for (name, step), found in times.items()]


def stream(codec: LLMCodec, seconds: float, arguments: Any) -> list[dict[str, Any]]:
    """The same two rows for the codec on a stream."""
    minute = speech_like(LONG, codec.sample_rate, arguments.seed)
    pieces = [minute] * int(seconds / LONG)
    start = time.perf_counter()
    codes = join_codes(list(codec.stream_encode(pieces)))
    between = time.perf_counter()
    for _ in codec.stream_decode(codes):
        pass
    times = {"encode": between - start, "decode": time.perf_counter() - between}
    return [row("llmcodec", step, LONG * len(pieces), [found]) for step, found in times.items()]


def row(system: str, step: str, seconds: float, runs: Sequence[float]) -> dict[str, Any]:
    median = statistics.median(runs)
    times = {"median_s": median, "times_real_time": seconds / median, "runs_s": list(runs)}
    return {"system": system, "step": step, "seconds": seconds, **times}


def measure(steps: dict[tuple[str, str], Callable[[], object]], runs: int) -> dict[tuple[str, str], list[float]]:
    """Seconds of every step, `runs` times in turn, after one round that does not count."""
    times: dict[tuple[str, str], list[float]] = {name: [] for name in steps}
    for number in range(runs + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number:
                times[name].append(time.perf_counter() - start)
    return times


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
