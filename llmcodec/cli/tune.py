"""`tune`: a low-rank warm-up of the language model on labelled clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcodec import formats
from llmcodec.cli.common import (
    CodecOption,
    LayersOption,
    LLMOption,
    TemplateOption,
    ThreadsOption,
    layer_list,
    load_codec,
    missing_extra,
    number_list,
    stage_progress,
)
from llmcodec.errors import ConfigError

FORMAT = "llmcodec-tune-1"


def tune(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled clips, as DEMOS of classify.")],
    out: Annotated[Path, typer.Option(help="Folder of the adapters, for --llm; a run that is there already goes on.")],
    hold_out: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of the labels that is not learned, but tested at the end.")
    ] = 0.3,
    ways: Annotated[str, typer.Option(help="Classes in a lesson, drawn from these.")] = "2,3,5",
    shots: Annotated[int, typer.Option(min=1, help="Clips of each class in a lesson behind the first one.")] = 3,
    tokens: Annotated[int, typer.Option(min=16, help="Length of a lesson at most.")] = 1024,
    steps: Annotated[int, typer.Option(help="Updates of the adapters.")] = 300,
    batch: Annotated[int, typer.Option(help="Lessons in an update.")] = 4,
    learning_rate: float = 5e-4,
    rank: Annotated[int, typer.Option(help="Of the adapters.")] = 8,
    episodes: Annotated[int, typer.Option(min=1, help="Of the test.")] = 200,
    template: TemplateOption = "sound",
    layers: LayersOption = None,
    llm: LLMOption = None,
    codec: CodecOption = None,
    group_by: Annotated[str | None, typer.Option(help="Column that a class's clips in a lesson never share.")] = None,
    seed: int = 0,
    threads: ThreadsOption = None,
) -> None:
    """Teach a language model to learn from demonstrations, then test it on labels that it has not learned.

    Without this, the language model stays as it was made: frozen. The test compares both on the same episodes.
    """
    from llmcodec.evaluation import draw_episodes, evaluate_fewshot, read_labelled
    from llmcodec.evaluation.fewshot import encode_clips
    from llmcodec.evaluation.provenance import read_json, write_json
    from llmcodec.llm import llm_source, load_transformers
    from llmcodec.prompting import PromptBuilder, load_template, with_layers

    try:
        from llmcodec.tuning import Lessons, TuneSettings, hold_out_labels
        from llmcodec.tuning import tune as run
    except ImportError as error:
        raise missing_extra("tuning", error, "tune") from error

    settings = TuneSettings(rank, steps, batch, learning_rate)
    task, counts = with_layers(load_template(template), layer_list(layers)), number_list(ways, "--ways")
    learned, held = hold_out_labels(read_labelled(data, group_by), hold_out, seed)
    drawn = draw_episodes(held, 2, shots, episodes, seed) if held else []
    coder, base = load_codec(codec, threads), llm_source(llm)
    frozen = load_transformers(base)
    plan = {
        "format": FORMAT, "labels": list(learned.classes), "llm": base, "template": task.model_dump(mode="json"),
        "ways": counts, "shots": shots, "tokens": tokens, "steps": steps, "batch": batch,
        "learning_rate": learning_rate, "rank": rank, "seed": seed,
    }  # fmt: skip
    kept = out / "tune.json"
    found = read_json(kept) if kept.is_file() else {}
    if found and (fault := formats.fault(found.get("format", FORMAT), FORMAT)):
        raise ConfigError(f"{kept}: {fault}")
    if found and {"format": FORMAT, **found} != plan:
        raise ConfigError(f"{out} holds adapters of other settings; choose another folder or remove it")
    with stage_progress() as tell:
        codes = encode_clips(learned, coder, range(len(learned)), lambda done, total: tell("encode", done, total))
        builder = PromptBuilder(task, frozen, coder.vocabularies, coder.layer_names)
        words = {clip: builder.word_ids(row) for clip, row in codes.items()}
        lessons = Lessons(learned, words, builder, steps * batch, counts, shots, tokens, seed)
        out.mkdir(parents=True, exist_ok=True)
        write_json(kept, plan)
        run(load_transformers(base), base, lessons, out, settings, seed, lambda done, total: tell("tune", done, total))
        if held:
            models = [frozen, load_transformers(out)]
            report = evaluate_fewshot(held, coder, models, task, ("direct", "knn"), episodes=drawn, seed=seed,
                                      whisper=None, codec_name=codec or "default", progress=tell)  # fmt: skip
    if held:
        write_json(out / "test.json", report.to_dict())
        typer.echo(report.to_markdown())
    typer.echo(f"{out}: give it as --llm to classify and eval; --scorer direct is what it has learned for")
