"""`models`: the language models that the codec's words fit."""

from __future__ import annotations

from typing import Annotated

import typer

from llmcodec.cli.common import JsonOption, print_json

app = typer.Typer(help="List and fetch language models.", no_args_is_help=True)


@app.command("list")
def list_known(as_json: JsonOption = False) -> None:
    """Print the models known to fit, and where each lies on this machine. Any other folder or hub id may fit too."""
    from llmcodec.llm import list_models

    for model in list_models():
        if as_json:
            folder = str(model.folder) if model.folder else None
            print_json(
                {
                    "name": model.name,
                    "hub_id": model.hub_id,
                    "megabytes": model.megabytes,
                    "note": model.note,
                    "folder": folder,
                }
            )
        else:
            size = f"{model.megabytes} MB"
            typer.echo(f"{model.name:<13} {model.hub_id:<36} {size:>8}  {model.folder or 'not here'}  ({model.note})")


@app.command()
def fetch(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A name, hub id or folder (default: the default LLM)")
    ] = None,
) -> None:
    """Download a model, unless it is here already, and print its folder."""
    from llmcodec.llm import resolve_llm

    typer.echo(resolve_llm(name))
