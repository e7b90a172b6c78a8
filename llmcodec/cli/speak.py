"""`speak`: say a text, or the answer to a question, as a few recordings do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmcodec.cli.common import (
    CODES_SUFFIX,
    CodecOption,
    ForceOption,
    JsonOption,
    LLMOption,
    ThreadsOption,
    check_output,
    load_codec,
    print_json,
    progress,
    read_codes,
)
from llmcodec.errors import ConfigError

CandidatesOption = Annotated[int, typer.Option(min=1, max=64, help="How many are generated, to keep the best.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of the samples.")]
TemperatureOption = Annotated[
    float | None, typer.Option(min=0, help="0: the likeliest words (default, if there is one candidate; else 0.8).")
]


def speak(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A demonstrated text, several of them, or a question.")],
    demos: Annotated[
        Path, typer.Option("--demos", help="Recordings: TEXT/*.wav, or a CSV with the columns file and text.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="OUT.wav or OUT.flac.")],
    think: Annotated[bool, typer.Option("--think", help="TEXT is a question: answer it first, then say that.")] = False,
    seconds: Annotated[float | None, typer.Option(help="Default: as long as the demonstrations.")] = None,
    candidates: CandidatesOption = 1,
    rerank: Annotated[
        str, typer.Option(help="What is best: likelihood, mean, information, round-trip, heard, quality (extra eval).")
    ] = "likelihood",
    temperature: TemperatureOption = None,
    seed: SeedOption = 0,
    template: Annotated[str, typer.Option("--template", help="speak, sound, or a YAML file.")] = "speak",
    llm: LLMOption = None,
    codec: CodecOption = None,
    threads: ThreadsOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say TEXT in the voice of the demonstrations. A frozen language model writes the words of the audio."""
    from llmcodec.audio import save_audio
    from llmcodec.generation import FewShotGenerator
    from llmcodec.generation.tables import read_spoken
    from llmcodec.llm import best_of, load_llm
    from llmcodec.prompting import load_generation_template

    check_output(out, force)
    task = load_generation_template(template)
    if task.input != "text":
        raise ConfigError(f"{template}: input: {task.input} must be text for speak")
    files, texts = read_spoken(demos)
    model = load_codec(codec, threads)
    clips = [read_codes(model, file) if file.suffix == CODES_SUFFIX else file for file in files]
    sampling = best_of(candidates, seed, temperature)
    generator = FewShotGenerator(model, load_llm(llm), task, sampling, rerank).fit(texts, clips)
    with progress() as bar:
        bar.add_task(text, total=None)
        found = generator.generate(text, seconds, think)
    save_audio(out, found.wave, model.sample_rate, overwrite=force)
    length = len(found.wave) / model.sample_rate
    if as_json:
        words = model.words(found.codes)
        print_json(
            {
                "file": str(out), "seconds": length, "said": list(found.said),
                "chances": found.answer and found.answer.chances, "words": words,
                "tokens": sum(map(len, words.values())), "likelihood": found.likelihood,
                "scores": list(found.scores), "rerank": rerank, "seed": seed, "took": found.seconds,
            }
        )  # fmt: skip
    else:
        typer.echo(f"{out}: {length:.2f} s, {' '.join(found.said)}, in {found.seconds:.1f} s")
