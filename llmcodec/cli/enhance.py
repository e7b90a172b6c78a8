"""`enhance`: make a noisy clip cleaner, as pairs of noisy and clean clips show."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from llmcodec.cli.common import (
    CodecOption,
    ForceOption,
    JsonOption,
    ThreadsOption,
    check_output,
    load_codec,
    print_json,
    progress,
)


def enhance(
    noisy: Annotated[Path, typer.Argument(metavar="NOISY", help="The recording to clean.")],
    demos: Annotated[Path, typer.Option("--demos", help="Pairs: a CSV with the columns noisy and clean.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="OUT.wav or OUT.flac, as long as NOISY.")],
    codec: CodecOption = None,
    threads: ThreadsOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn down what the demonstrated pairs show to be noise."""
    from llmcodec.audio import load_audio, save_audio
    from llmcodec.generation import Enhancer
    from llmcodec.generation.tables import read_pairs

    check_output(out, force)
    first, second = read_pairs(demos, "noisy", "clean")
    model = load_codec(codec, threads)
    wave = load_audio(noisy, model.sample_rate)
    begun = time.perf_counter()
    with progress() as bar:
        task = bar.add_task(noisy.name, total=None)
        enhancer = Enhancer(model).fit(first, second)
        found = enhancer.enhance(wave)
        bar.update(task, total=1, completed=1)
    save_audio(out, found, model.sample_rate, overwrite=force)
    seconds, took = len(found) / model.sample_rate, time.perf_counter() - begun
    if as_json:
        print_json({"file": str(out), "seconds": seconds, "pairs": len(first), "took": took})
    else:
        typer.echo(f"{out}: {seconds:.2f} s, by {len(first)} pairs, in {took:.1f} s")
