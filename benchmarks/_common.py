"""What the benchmark scripts share: arguments, progress on stderr, results as JSON and as a table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from llmcodec.cli.common import stages
from llmcodec.codec import LLMCodec
from llmcodec.errors import LLMCodecError
from llmcodec.evaluation.provenance import digest, write_json
from llmcodec.models import locate

Tell = Callable[[str, int, int], None]


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the arguments that every benchmark has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--codec", help="folder or hub id of a codec; default: the one inside the package")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--threads", type=int, help="CPU threads of torch; default: torch's own choice")
    made.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    made.add_argument("--out", type=Path, help="write the JSON here as well, such as benchmarks/results/NAME.json")
    return made


def load_codec(name: str | None, decodes: bool = True) -> tuple[LLMCodec, dict[str, str]]:
    """The codec, and what to call it in a report: by the digest of its weights, or where nothing is decoded, of those
    that give the codes."""
    codec = LLMCodec.from_pretrained(None if name is None else locate(name))
    called = {"weights": digest(codec)} if decodes else {"codes": digest(codec, without="decoder.")}
    return codec, {"name": codec_name(name), **called}


def codec_name(name: str | None) -> str:
    """The last part of a folder or hub id: reports name no folders of the machine they were made on."""
    return "default" if name is None else Path(name).resolve().name


@contextmanager
def progress() -> Iterator[Tell]:
    """A function to call with (stage, done, total); shown on stderr when that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield stages(bar)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; None makes an empty cell."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join('' if cell is None else str(cell) for cell in line)} |" for line in lines)


def report(arguments: argparse.Namespace, content: dict[str, Any], markdown: str) -> None:
    """Write the result where it was asked for and print it."""
    if arguments.out is not None:
        write_json(arguments.out, content)
    print(json.dumps(content, indent=2, ensure_ascii=False) if arguments.json else markdown)


def run(benchmark: Callable[[Sequence[str] | None], int]) -> None:
    """Exit with the benchmark's code; an error of the user's is one line on stderr and code 2."""
    try:
        sys.exit(benchmark(None))
    except LLMCodecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def set_threads(arguments: argparse.Namespace) -> None:
    if arguments.threads is not None:
        torch.set_num_threads(max(1, arguments.threads))
