"""`convert`: the published checkpoint as a codec folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcodec.cli.common import ForceOption
from llmcodec.errors import ConfigError


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="FILE.pth", help="The checkpoint that LLM-Codec's authors publish.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the codec, for --codec.")],
    layer0_words: Annotated[
        Path | None, typer.Option(help="The authors' words of the first layer, one a line. Default: <0>, <1>, ...")
    ] = None,
    token_words: Annotated[
        Path | None,
        typer.Option(help="The tokens of LLaMA-2 by id, one a line, for the other layers. Default: as above."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Half precision: half the size; a few codes change.")] = False,
    force: ForceOption = False,
) -> None:
    """Convert the published checkpoint (.pth) to safetensors, with projected codebooks and no language model."""
    import torch

    from llmcodec.codec.official import load_official_checkpoint

    if out.exists() and not force:
        raise ConfigError(f"{out}: exists already; --force replaces it")
    codec = load_official_checkpoint(source, _lines(layer0_words), _lines(token_words))
    codec.save_checkpoint(out, torch.float16 if half else torch.float32)
    counts = ", ".join(
        f"{name} {len(words)}" for name, words in zip(codec.layer_names, codec.vocabularies, strict=True)
    )
    typer.echo(f"{out}: {sum(p.numel() for p in codec.parameters()) / 1e6:.1f} M parameters; words: {counts}")


def _lines(file: Path | None) -> list[str] | None:
    """The lines of a list; ConfigError when it is no text."""
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text") from error
