"""`eval`: how well a language model names the sounds of a labelled folder, beside its baselines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from llmcodec.cli.common import (
    CodecOption,
    ForceOption,
    JsonOption,
    LayersOption,
    TemplateOption,
    ThreadsOption,
    check_output,
    layer_list,
    load_codec,
    number_list,
    print_json,
    stage_progress,
)
from llmcodec.errors import ConfigError


def evaluate(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Labelled clips, as DEMOS of classify; or a list of episodes, .scp.")
    ],
    ways: Annotated[str, typer.Option(help="Classes in an episode; several settings as in 2,5.")] = "2",
    shots: Annotated[str, typer.Option(help="Demonstrations of each class; several settings as in 1,5.")] = "1",
    episodes: Annotated[int, typer.Option(help="How many of each setting, one query each.")] = 100,
    scorer: Annotated[
        list[str] | None, typer.Option(help="knn, channel, ensemble, direct ...; may be repeated (default: knn)")
    ] = None,
    template: TemplateOption = "sound",
    layers: LayersOption = None,
    llm: Annotated[
        list[str] | None,
        typer.Option(help="Language model, as for classify; repeat it to compare several on the same episodes."),
    ] = None,
    codec: CodecOption = None,
    whisper: Annotated[str, typer.Option(help="Model of the feature baselines, or none.")] = "openai/whisper-base",
    group_by: Annotated[
        str | None,
        typer.Option(help="Column that query and demonstrations never share (default: recording, speaker ...)"),
    ] = None,
    seed: int = 0,
    load: Annotated[Path | None, typer.Option(help="Use the episodes of this file instead of drawing some.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the episodes that were used.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Keep what the model said in this file, and go on from it after a stop.")
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="Folder of the clips that an .scp list names.")] = None,
    threads: ThreadsOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the report here too: .json, .md or .html.")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure few-shot accuracy over random episodes, with baselines on the same ones."""
    from llmcodec.evaluation import FewShotEvaluation, draw_episodes, load_episodes, read_labelled, save_episodes
    from llmcodec.evaluation.html import to_html
    from llmcodec.evaluation.provenance import write_text
    from llmcodec.evaluation.scp import read_scp
    from llmcodec.llm import load_llm

    if out and out.suffix not in (".json", ".md", ".html"):
        raise ConfigError(f"{out}: a report is a .json, .md or .html file")
    for file in filter(None, (out, save)):
        check_output(file, force)
    if data.suffix == ".scp":
        if audio is None or load:
            raise ConfigError(f"{data}: a list of episodes needs --audio, the folder of its clips, and no --load")
        folder, *sets = read_scp(data, audio)
    else:
        folder = read_labelled(data, group_by)
        settings = [(way, shot) for shot in number_list(shots, "--shots") for way in number_list(ways, "--ways")]
        sets = [load_episodes(load, folder)] if load else [
            draw_episodes(folder, way, shot, episodes, seed) for way, shot in settings
        ]  # fmt: skip
    for file in filter(None, (save, resume) if len(sets) > 1 else ()):
        raise ConfigError(f"{file}: holds one setting; give one number of ways and of shots")
    coder, models = load_codec(codec, threads), [load_llm(name) for name in llm] if llm else None
    bench = FewShotEvaluation(
        folder, coder, models, template, scorer or ["knn"], layer_list(layers),
        None if whisper == "none" else whisper, codec or "default",
    )  # fmt: skip
    with stage_progress() as tell:
        reports = [bench.run(drawn, seed, tell, resume) for drawn in sets]
    if not bench.processes.first:
        return
    if save:
        save_episodes(save, folder, sets[0])
    markdown = "\n\n".join(report.to_markdown() for report in reports)
    if out:
        contents = [report.to_dict() for report in reports]
        write_text(out, {
            ".html": lambda: to_html(bench, sets, reports),
            ".json": lambda: json.dumps(contents if len(contents) > 1 else contents[0], indent=2, ensure_ascii=False),
            ".md": lambda: markdown,
        }[out.suffix]() + "\n")  # fmt: skip
    if as_json:
        for report in reports:
            print_json(report.to_dict())
    else:
        typer.echo(markdown)
