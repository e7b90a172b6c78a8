"""`tokenize`: many clips to Parquet shards of words."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from llmcodec.cli.common import CodecOption, JsonOption, ThreadsOption, missing_extra, print_json, stage_progress
from llmcodec.errors import ConfigError


def tokenize(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder of audio, metadata.csv, *.tar, *.parquet or a saved dataset.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder, or that of a run that goes on.")],
    per_shard: Annotated[int, typer.Option(min=1, help="Clips in a shard.")] = 1000,
    workers: Annotated[
        int | None, typer.Option(min=1, help="So many processes of Ray Data (default: this process alone).")
    ] = None,
    codec: CodecOption = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn clips into Parquet shards of words. Give the same command again after a stop: it goes on where it was."""
    import torch

    try:
        import pyarrow.parquet  # noqa: F401

        from llmcodec.scale import Tokenization
    except ImportError as error:
        raise missing_extra("tokenize", error, "scale") from error
    if not data.is_dir():
        raise ConfigError(f"{data}: no such folder")
    if threads is not None:
        torch.set_num_threads(threads)
    start = time.perf_counter()
    with stage_progress() as tell:
        clips, unread = Tokenization(data, out, codec, per_shard).run(
            lambda done, total: tell("shards", done, total), workers
        )
    seconds = time.perf_counter() - start
    if as_json:
        print_json({"out": str(out), "clips": clips, "unread": unread, "seconds": round(seconds, 3)})
    else:
        typer.echo(
            f"{out}: {clips} clips in {seconds:.1f} s" + f"; {unread} could not be read: see `error`" * (unread > 0)
        )
