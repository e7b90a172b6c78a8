"""`demo`: the whole job on the clips inside the package."""

from __future__ import annotations

import csv
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from llmcodec.cli.common import CodecOption, LLMOption, ThreadsOption, load_codec

WORDS_SHOWN = 6


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the decoded clips; those of an earlier demo are replaced.")
    ] = Path("llmcodec-demo"),
    llm: LLMOption = None,
    codec: CodecOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Turn the clips inside the package into words, let a language model name them, and decode them again."""
    with as_file(files("llmcodec") / "data" / "demo") as folder:
        _run(folder, out, llm, codec, threads)


def _run(folder: Path, out: Path, llm: str | None, codec: str | None, threads: int | None) -> None:
    from llmcodec.audio import load_audio, save_audio
    from llmcodec.evaluation import read_labelled
    from llmcodec.icl import FewShotClassifier
    from llmcodec.llm import load_llm

    known = read_labelled(folder / "demonstrations")
    with open(folder / "queries.csv", newline="", encoding="utf-8") as table:
        queries = [(folder / row["file"], row["label"]) for row in csv.DictReader(table)]
    model = load_codec(codec, threads)
    reader = load_llm(llm)
    out.mkdir(parents=True, exist_ok=True)
    typer.echo(
        f"{reader.name} never heard a sound. It reads {len(known.files)} labelled clips as words and names "
        f"{len(queries)} others.\n"
    )
    classifier = FewShotClassifier(model, reader).fit(known.files, known.labels)
    right = 0
    for file, truth in queries:
        codes = model.encode(load_audio(file, model.sample_rate))
        chances = classifier.predict_proba([codes])[0]
        label = str(classifier.classes_[chances.argmax()])
        right += label == truth
        save_audio(out / f"{file.stem}.wav", model.decode(codes)[0], model.sample_rate, overwrite=True)
        words = [model.vocabularies[0].words[code] for code in codes.layers[0][0, :WORDS_SHOWN].tolist()]
        verdict = "right" if label == truth else f"it is {truth}"
        typer.echo(f"{file.name}  heard: {' '.join(words)} ...\n{'':12}  says: {label} {chances.max():.0%} ({verdict})")
    typer.echo(f"\n{right} of {len(queries)} right; {1 / len(classifier.classes_):.0%} would be chance.")
    typer.echo(f"The words decoded back to sound: {out}/*.wav")
