"""`classify`: name sounds from a few labelled recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llmcodec.cli.common import (
    CodecOption,
    JsonOption,
    LayersOption,
    LLMOption,
    TemplateOption,
    ThreadsOption,
    clips_of,
    layer_list,
    load_codec,
    print_json,
    read_codes,
)


def classify(
    demonstrations: Annotated[
        Path,
        typer.Argument(
            metavar="DEMOS", help="Labelled clips: LABEL/*.wav, or a metadata.csv with file_name and label."
        ),
    ],
    queries: Annotated[list[Path], typer.Argument(metavar="QUERY...", help="Clips to name: audio, codes, folders.")],
    template: TemplateOption = "sound",
    scorer: Annotated[
        str, typer.Option(help="knn, channel, ensemble, direct ...: see the concepts in the documentation.")
    ] = "knn",
    layers: LayersOption = None,
    llm: LLMOption = None,
    codec: CodecOption = None,
    least: Annotated[
        float, typer.Option("--least", min=0, max=1, help="Name nothing when the likeliest label is less probable.")
    ] = 0.0,
    explain: Annotated[bool, typer.Option(help="Say which words of a query spoke for which label (knn).")] = False,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name each QUERY by the labels of DEMOS. A frozen language model reads both as words."""
    from llmcodec.evaluation import read_labelled
    from llmcodec.icl import FewShotClassifier
    from llmcodec.llm import load_llm
    from llmcodec.prompting import load_template

    known = read_labelled(demonstrations)
    task = load_template(template)
    files = [file for file, _ in clips_of(queries)]
    model = load_codec(codec, threads)
    clips = [read_codes(model, file) for file in files]
    classifier = FewShotClassifier(model, load_llm(llm), task, scorer, layer_list(layers))
    classifier.fit([read_codes(model, file) for file in known.files], known.labels)
    reasons = classifier.explain(clips) if explain else [None] * len(files)
    for file, row, spoke in zip(files, classifier.predict_proba(clips).tolist(), reasons, strict=True):
        chances = dict(sorted(zip(map(str, classifier.classes_), row, strict=True), key=lambda pair: -pair[1]))
        label = next((name for name, chance in chances.items() if chance >= least), None)
        if as_json:
            found: dict[str, Any] = {"file": str(file), "label": label, "probabilities": chances}
            if spoke is not None:
                found["words"] = [{"word": word, "label": str(name), "weight": weight} for word, name, weight in spoke]
            print_json(found)
        else:
            typer.echo(
                f"{file}: "
                + ("" if label else "unsure; ")
                + ", ".join(f"{name} {chance:.0%}" for name, chance in chances.items())
            )
            for word, name, weight in spoke or ():
                typer.echo(f"    {word}: {name} {weight:+.2f}")
