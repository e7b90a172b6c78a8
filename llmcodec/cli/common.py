"""What the commands share: errors as one line, options, inputs, outputs, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperGroup

from llmcodec.errors import AudioError, ConfigError, LLMCodecError, ModelError, one_line

if TYPE_CHECKING:
    from rich.progress import Progress

    from llmcodec.codec import AudioCodes, LLMCodec

CODES_SUFFIX = ".safetensors"

CodecOption = Annotated[
    str | None, typer.Option("--codec", help="Codec: a folder or hub id (default: the one inside the package)")
]
LLMOption = Annotated[
    str | None,
    typer.Option(
        "--llm",
        help="Language model: a name, folder, hub id, address of vLLM (default: $LLMCODEC_LLM or SmolLM2-135M)",
    ),
]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads (default: all cores)")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what exists.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
TemplateOption = Annotated[str, typer.Option("--template", help="Task template: a name or a YAML file.")]
LayersOption = Annotated[
    str | None,
    typer.Option("--layers", help="Layers whose words are used, as in semantic,coarse (default: the template's)"),
]


_UsageError = cast(type[Exception], typer.BadParameter.__mro__[1])  # of click, or of the click inside typer


class ErrorLine(TyperGroup):
    """Commands whose foreseeable failures are one line `error: ...` on stderr and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LLMCodecError as error:
            show_error(str(error))
        except BrokenPipeError:  # the reader of our output has seen enough
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            show_error(f"{where}{error.strerror or error}")
        except _UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                raise
            show_error(cast(Any, error).format_message())
        except MemoryError:
            show_error("out of memory")
        except KeyboardInterrupt:
            show_error("interrupted")
            raise typer.Exit(130) from None
        raise typer.Exit(2)


def show_error(message: str) -> None:
    typer.echo(f"error: {one_line(message)}", err=True)


def print_json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))


def load_codec(name: str | None, threads: int | None = None) -> LLMCodec:
    """The codec of that folder or hub id; `threads` limits torch in this process."""
    import torch

    from llmcodec.codec import LLMCodec

    if threads is not None:
        torch.set_num_threads(threads)
    return LLMCodec.from_pretrained(name)


def clips_of(inputs: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Files, and the clips of folders, each with its path relative to what was given."""
    from llmcodec.evaluation.dataset import audio_files

    found: list[tuple[Path, Path]] = []
    for given in inputs:
        if given.is_dir():
            found += [(file, file.relative_to(given)) for file in audio_files(given)]
        else:
            found.append((given, Path(given.name)))
    return found


def stream_codes(codec: LLMCodec, path: Path) -> Iterator[AudioCodes]:
    """The codes of an audio file piece by piece, or of a codes file at once; errors name the file."""
    from llmcodec.audio import stream_audio
    from llmcodec.codec import AudioCodes

    if path.suffix != CODES_SUFFIX:
        yield from codec.stream_encode(stream_audio(path, codec.sample_rate))
        return
    codes = AudioCodes.load(path)
    try:
        codec.check(codes)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    if len(codes) != 1:
        raise AudioError(f"{path}: holds the codes of {len(codes)} clips; one clip is needed")
    yield codes


def read_codes(codec: LLMCodec, path: Path) -> AudioCodes:
    """The codes of one clip, from an audio file or a codes file, with a progress bar."""
    from llmcodec.audio import audio_info
    from llmcodec.codec import join_codes

    pieces = []
    seconds = None if path.suffix == CODES_SUFFIX else audio_info(path).seconds
    with progress() as bar:
        task = bar.add_task(path.name, total=seconds)
        for codes in stream_codes(codec, path):
            pieces.append(codes)
            bar.advance(task, int(codes.samples) / codec.sample_rate)
    return join_codes(pieces)


def progress() -> Progress:
    """Bars on stderr, if that is a terminal; gone when done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


@contextmanager
def stage_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A function to call with (stage, done, total), shown as bars."""
    with progress() as bar:
        yield stages(bar)


def stages(bar: Progress) -> Callable[[str, int, int], None]:
    """A function to call with (stage, done, total); each stage becomes a task of `bar`."""
    tasks: dict[str, Any] = {}

    def tell(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(stage)
        bar.update(tasks[stage], completed=done, total=total)

    return tell


def layer_list(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def number_list(text: str, what: str) -> list[int]:
    """ "2,5" -> [2, 5]. ConfigError names `what`."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise ConfigError(f"{what}: {text!r} must be a number, or several as in 2,5") from None


def check_output(path: Path, force: bool) -> None:
    """ConfigError, before work begins, when `path` cannot be written: it exists, or its folder does not."""
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; the name of a file is needed")
    if path.exists() and not force:
        raise ConfigError(f"{path}: exists already; --force replaces it")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: the folder {path.parent} does not exist")


def missing_extra(what: str, error: ImportError, extra: str) -> ConfigError:
    return ConfigError(f"{what} needs {error.name}: pip install 'llmcodec[{extra}]'")
