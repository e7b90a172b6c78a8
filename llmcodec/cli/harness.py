"""`harness`: episodes as a task of lm-evaluation-harness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcodec.cli.common import (
    CodecOption,
    ForceOption,
    LayersOption,
    TemplateOption,
    check_output,
    layer_list,
    load_codec,
    stage_progress,
)


def harness(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled clips, as DEMOS of classify.")],
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Gets NAME.yaml and NAME.jsonl.")],
    name: Annotated[str, typer.Option(help="Of the task.")] = "llmcodec",
    ways: Annotated[int, typer.Option(help="Classes in an episode.")] = 2,
    shots: Annotated[int, typer.Option(help="Demonstrations of each class.")] = 1,
    episodes: Annotated[int, typer.Option(help="How many, one query each.")] = 100,
    template: TemplateOption = "sound",
    layers: LayersOption = None,
    codec: CodecOption = None,
    group_by: Annotated[str | None, typer.Option(help="Column that query and demonstrations never share.")] = None,
    seed: int = 0,
    force: ForceOption = False,
) -> None:
    """Write few-shot episodes as a task for lm-evaluation-harness, to run on any of its models."""
    from llmcodec.evaluation import draw_episodes, read_labelled
    from llmcodec.evaluation.harness import export_task
    from llmcodec.prompting import load_template, with_layers

    task = with_layers(load_template(template), layer_list(layers))
    folder = read_labelled(data, group_by)
    drawn = draw_episodes(folder, ways, shots, episodes, seed)
    model = load_codec(codec)
    out.mkdir(parents=True, exist_ok=True)
    for suffix in ("yaml", "jsonl"):
        check_output(out / f"{name}.{suffix}", force)
    with stage_progress() as tell:
        export_task(out, name, folder, model, task, drawn, tell)
    typer.echo(f"in {out}: lm_eval --include_path . --tasks {name} --model hf --model_args pretrained=MODEL")
