"""`train`: make a codec from a recipe and a folder of audio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcodec.cli.common import ThreadsOption, missing_extra


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file, like those in recipes/.")],
    data: Annotated[Path, typer.Option(help="Folder with metadata.csv: file_name and, if known, text and kind.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; a run that is there already goes on.")],
    cache: Annotated[Path | None, typer.Option(help="Folder for teacher features (default: OUT/cache)")] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop after so long; run again to go on.")] = None,
    threads: ThreadsOption = None,
) -> None:
    """Train a codec. It ends up in OUT/codec, ready for --codec."""
    import torch

    from llmcodec.training.recipe import Recipe

    plan = Recipe.read(recipe)
    try:
        from llmcodec.training.trainer import train as run
    except ImportError as error:
        raise missing_extra("training", error, "train") from error
    if threads is not None:
        torch.set_num_threads(threads)
    typer.echo(run(plan, data, out, cache, max_minutes))
