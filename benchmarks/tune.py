#!/usr/bin/env python3
"""What a low-rank warm-up gives on labels that it has not learned: the frozen model and the tuned one side by side.

    python benchmarks/tune.py --data TRAIN --only esc10/ --without "dog bark" --test SOUNDS --settings 2x1 5x1

Lessons are drawn from the clips of TRAIN (see `llmcodec tune`); both models then answer the same episodes of SOUNDS.
No label of SOUNDS may be learned, whatever it is called there: leave the like out by --without.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import _common
from fewshot import setting

from llmcodec.errors import ConfigError
from llmcodec.evaluation import FewShotEvaluation, LabelledFolder, draw_episodes, read_labelled
from llmcodec.evaluation.dataset import METADATA, read_table
from llmcodec.evaluation.fewshot import encode_clips
from llmcodec.llm import llm_source, load_transformers
from llmcodec.models import locate
from llmcodec.prompting import PromptBuilder, load_template
from llmcodec.tuning import Lessons, TuneSettings, tune


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="labelled clips to learn from")
    parser.add_argument("--only", nargs="*", default=[""], help="how names of clips that count begin")
    parser.add_argument("--without", nargs="*", default=[], help="labels that are left out")
    parser.add_argument("--test", type=Path, required=True, help="labelled clips of other labels")
    parser.add_argument("--settings", nargs="+", default=["2x1"], metavar="WAYSxSHOTS", help="of the test")
    parser.add_argument("--episodes", type=int, default=200, help="of each setting")
    parser.add_argument("--scorer", nargs="+", default=["direct", "knn"])
    parser.add_argument("--template", default="sound", help="name or YAML file")
    parser.add_argument("--llm", help="folder, hub id, or a name below $LLMCODEC_MODELS")
    parser.add_argument("--ways", type=int, nargs="+", default=[2, 3], help="of a lesson")
    parser.add_argument("--shots", type=int, default=2, help="of a lesson")
    parser.add_argument("--tokens", type=int, default=512, help="of a lesson")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=2)
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)
    codec, named = _common.load_codec(arguments.codec, decodes=False)
    base, task = llm_source(arguments.llm and locate(arguments.llm)), load_template(arguments.template)
    frozen, settings = load_transformers(base), TuneSettings(arguments.rank, arguments.steps, arguments.batch)
    builder = PromptBuilder(task, frozen, codec.vocabularies, codec.layer_names)
    learned = chosen(arguments.data, tuple(arguments.only), arguments.without)
    with _common.progress() as tell, tempfile.TemporaryDirectory() as folder:
        codes = encode_clips(learned, codec, range(len(learned)), lambda done, total: tell("encode", done, total))
        words = {clip: builder.word_ids(row) for clip, row in codes.items()}
        count, seed = settings.steps * settings.batch, arguments.seed
        lessons = Lessons(
            learned, words, builder, count, arguments.ways, arguments.shots, arguments.tokens, seed,
        )  # fmt: skip
        out = Path(folder) / "tuned"
        tune(load_transformers(base), base, lessons, out, settings, seed, lambda done, total: tell("tune", done, total))
        losses = [
            [row["step"], float(row["loss"])] for row in json.loads((out / "log.json").read_text()) if "loss" in row
        ]
        bench = FewShotEvaluation(
            read_labelled(arguments.test), codec, [frozen, load_transformers(out)], task, arguments.scorer,
            whisper=None, codec_name=named["name"],
        )  # fmt: skip
        reports = []
        for ways, shots in map(setting, arguments.settings):
            reports.append(bench.run(draw_episodes(bench.folder, ways, shots, arguments.episodes, seed), seed, tell))
    found = [report.to_dict(answers=False) for report in reports]
    content = {
        "provenance": [report.pop("provenance") for report in found][0],
        "learned": {"labels": list(learned.classes), "clips": len(learned), "lessons": count, **asdict(settings)},
        "losses": losses,
        "reports": found,
    }
    _common.report(arguments, content, "\n\n".join(report.to_markdown() for report in reports))
    return 0


def chosen(data: Path, beginnings: tuple[str, ...], without: Sequence[str]) -> LabelledFolder:
    """The labelled clips of an audiofolder whose name begins so; pieces `NAME-a`, `NAME-b` of a recording are one
    group."""
    rows = [row.cells for row in read_table(data / METADATA, ("file_name",))]
    kept = [
        (data / row["file_name"], row["label"], re.sub(r"-[a-z]$", "", Path(row["file_name"]).stem))
        for row in rows
        if row["file_name"].startswith(beginnings) and row.get("label") and row["label"] not in without
    ]
    if not kept:
        raise ConfigError(f"{data}: no clip has another label and a name that begins with {' or '.join(beginnings)}")
    files, labels, groups = zip(*kept, strict=True)
    return LabelledFolder(data, files, labels, groups, "recording")


if __name__ == "__main__":
    _common.run(main)
