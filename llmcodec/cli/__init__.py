"""The command line. A command reads its options, calls the package and prints; heavy imports wait until it runs."""

from __future__ import annotations

import signal
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

import llmcodec
from llmcodec.cli import (
    classify,
    codes,
    convert,
    demo,
    enhance,
    evaluate,
    export,
    harness,
    models,
    serve,
    speak,
    tokenize,
    train,
    tune,
    words,
)
from llmcodec.cli.common import ErrorLine, show_error

app = typer.Typer(
    cls=ErrorLine,
    help="Audio as words for any frozen language model: encode, decode and classify sound with a few examples.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmcodec {llmcodec.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command()(demo.demo)
app.command()(classify.classify)
app.command()(words.words)
app.command()(speak.speak)
app.command()(enhance.enhance)
app.command()(codes.encode)
app.command()(codes.decode)
app.command("eval")(evaluate.evaluate)
app.command()(harness.harness)
app.command()(serve.serve)
app.command()(tokenize.tokenize)
app.command()(train.train)
app.command()(tune.tune)
app.command()(convert.convert)
app.command()(export.export)
app.add_typer(models.app, name="models")


def _stop(*_: object) -> None:
    """End as after Ctrl-C: with what is half-written removed."""
    show_error("stopped")
    raise SystemExit(143)


def main() -> None:
    """Entry point of the `llmcodec` script."""
    signal.signal(signal.SIGTERM, _stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files need not be text
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="llmcodec")
