"""`eval`: how well a language model names the sounds of a labelled folder, beside its baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcodec.cli.common import (
    CodecOption,
    ForceOption,
    JsonOption,
    LayersOption,
    LLMOption,
    TemplateOption,
    ThreadsOption,
    check_output,
    layer_list,
    load_codec,
    print_json,
    progress,
)
from llmcodec.errors import ConfigError


def evaluate(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Labelled clips, as DEMOS of classify; or a list of episodes, .scp.")
    ],
    ways: Annotated[int, typer.Option(help="Classes in an episode.")] = 2,
    shots: Annotated[int, typer.Option(help="Demonstrations of each class.")] = 1,
    episodes: Annotated[int, typer.Option(help="How many, one query each.")] = 100,
    scorer: Annotated[
        list[str] | None, typer.Option(help="knn, channel, ensemble, direct ...; may be repeated (default: knn)")
    ] = None,
    template: TemplateOption = "sound",
    layers: LayersOption = None,
    llm: LLMOption = None,
    codec: CodecOption = None,
    whisper: Annotated[str, typer.Option(help="Model of the feature baselines, or none.")] = "openai/whisper-base",
    group_by: Annotated[
        str | None,
        typer.Option(help="Column that query and demonstrations never share (default: recording, speaker ...)"),
    ] = None,
    seed: int = 0,
    load: Annotated[Path | None, typer.Option(help="Use the episodes of this file instead of drawing some.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the episodes that were used.")] = None,
    audio: Annotated[Path | None, typer.Option(help="Folder of the clips that an .scp list names.")] = None,
    threads: ThreadsOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the report here too: .json or .md.")] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure few-shot accuracy over random episodes, with baselines on the same ones."""
    from llmcodec.evaluation import draw_episodes, evaluate_fewshot, load_episodes, read_labelled, save_episodes
    from llmcodec.evaluation.provenance import write_text
    from llmcodec.evaluation.scp import read_scp
    from llmcodec.llm import load_llm

    if out and out.suffix not in (".json", ".md"):
        raise ConfigError(f"{out}: a report is a .json or .md file")
    for file in filter(None, (out, save)):
        check_output(file, force)
    if data.suffix == ".scp":
        if audio is None or load:
            raise ConfigError(f"{data}: a list of episodes needs --audio, the folder of its clips, and no --load")
        folder, drawn = read_scp(data, audio)
    else:
        folder = read_labelled(data, group_by)
        drawn = load_episodes(load, folder) if load else draw_episodes(folder, ways, shots, episodes, seed)
    model = load_codec(codec, threads)
    with progress() as bar:
        tasks = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done)

        report = evaluate_fewshot(
            folder, model, load_llm(llm), template, scorer or ["knn"], episodes=drawn, seed=seed,
            layers=layer_list(layers), whisper=None if whisper == "none" else whisper, codec_name=codec or "default",
            progress=tell,
        )  # fmt: skip
    if save:
        save_episodes(save, folder, drawn)
    if out:
        write_text(out, (report.to_json() if out.suffix == ".json" else report.to_markdown()) + "\n")
    if as_json:
        print_json(report.to_dict())
    else:
        typer.echo(report.to_markdown())
