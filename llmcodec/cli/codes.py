"""`encode` and `decode`: audio files to codes files and back, block by block."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcodec.cli.common import (
    CODES_SUFFIX,
    CodecOption,
    ForceOption,
    JsonOption,
    ThreadsOption,
    check_output,
    clips_of,
    load_codec,
    print_json,
    progress,
    read_codes,
    show_error,
)
from llmcodec.errors import AudioError, ConfigError


def encode(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Audio files, or folders of them.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="One file: OUT.safetensors. Several, or a folder: a folder, made if need be."),
    ],
    codec: CodecOption = None,
    threads: ThreadsOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn audio into codes. Any length: memory stays flat.

    A file that cannot be read is named, the others are encoded, and the exit code is 2.
    """
    targets = _targets(inputs, out)
    for _, target in targets:
        if target.parent.is_dir():
            check_output(target, force)
    model = load_codec(codec, threads)
    failed = False
    for file, target in targets:
        try:
            codes = read_codes(model, file)
        except AudioError as error:
            show_error(str(error))
            failed = True
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        codes.save(target)
        seconds = int(codes.samples) / model.sample_rate
        counts = {name: layer.shape[1] for name, layer in zip(model.layer_names, codes.layers, strict=True)}
        if as_json:
            print_json({"file": str(file), "codes": str(target), "seconds": seconds, "words": counts})
        else:
            typer.echo(f"{target}: {seconds:.2f} s, {sum(counts.values())} words")
    if failed:
        raise typer.Exit(2)


def decode(
    source: Annotated[Path, typer.Argument(metavar="CODES", help="A file that encode made.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="OUT.wav or OUT.flac.")],
    codec: CodecOption = None,
    threads: ThreadsOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Turn codes back into audio, exactly as long as what was encoded."""
    from llmcodec.audio import AudioWriter

    check_output(out, force)
    if source.suffix != CODES_SUFFIX:
        raise ConfigError(f"{source}: decode takes a {CODES_SUFFIX} file that encode made")
    model = load_codec(codec, threads)
    codes = read_codes(model, source)
    seconds = int(codes.samples) / model.sample_rate
    with AudioWriter(out, model.sample_rate, overwrite=force) as writer, progress() as bar:
        task = bar.add_task(out.name, total=seconds)
        for wave in model.stream_decode(codes):
            writer.write(wave)
            bar.advance(task, len(wave) / model.sample_rate)
    if as_json:
        print_json({"file": str(out), "seconds": seconds, "sample_rate": model.sample_rate})
    else:
        typer.echo(f"{out}: {seconds:.2f} s")


def _targets(inputs: list[Path], out: Path) -> list[tuple[Path, Path]]:
    """Each audio file with the codes file it becomes. ConfigError when two would become one."""
    files = clips_of(inputs)
    if out.suffix == CODES_SUFFIX:
        if len(inputs) > 1 or inputs[0].is_dir():
            raise ConfigError(f"{out}: is one file; several inputs, or a folder, need a folder")
        check_output(out, force=True)
        return [(files[0][0], out)]
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is no folder, and one file needs a name ending in {CODES_SUFFIX}")
    made: dict[Path, Path] = {}
    for file, relative in files:
        target = out / relative.with_suffix(CODES_SUFFIX)
        if target in made:
            raise ConfigError(f"{file} and {made[target]} would both become {target}; encode them into two folders")
        made[target] = file
    return [(file, target) for target, file in made.items()]
