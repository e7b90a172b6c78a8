#!/usr/bin/env python3
"""Few-shot accuracy of a frozen language model on audio words, beside chance, neighbours and plain features.

    python benchmarks/fewshot.py --data FOLDER --settings 2x1 5x1 2x5 --episodes 500 --scorer knn channel direct

FOLDER is an audiofolder (metadata.csv with file_name and label), a CSV file (file, label) or a folder with one
sub-folder per label. Query and demonstrations never share what --group-by names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import _common

from llmcodec.errors import ConfigError
from llmcodec.evaluation import FewShotEvaluation, draw_episodes, load_episodes, read_labelled, save_episodes
from llmcodec.llm import load_llm
from llmcodec.models import locate


def main(argv: Sequence[str] | None = None) -> int:
    parser = _common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--group-by", metavar="COLUMN", help="default: recording, speaker or voice, else file")
    parser.add_argument("--settings", nargs="+", default=["2x1"], metavar="WAYSxSHOTS")
    parser.add_argument("--episodes", type=int, default=200, help="of each setting")
    parser.add_argument("--queries", type=int, default=1, help="queries that share an episode's demonstrations")
    parser.add_argument("--load-episodes", type=Path, metavar="FILE", help="use these episodes instead of drawing some")
    parser.add_argument("--save-episodes", type=Path, metavar="FILE", help="write the episodes that were used")
    parser.add_argument("--template", default="sound", help="name or YAML file")
    parser.add_argument("--layers", nargs="+", metavar="LAYER", help="default: those of the template")
    parser.add_argument("--scorer", nargs="*", default=["knn"], help="none at all: only the baselines")
    parser.add_argument("--llm", nargs="+", help="folders, hub ids, or names below $LLMCODEC_MODELS")
    parser.add_argument("--whisper", default="openai/whisper-base", help="model of the feature baselines")
    parser.add_argument("--no-whisper", action="store_true", help="leave them out")
    arguments = parser.parse_args(argv)
    _common.set_threads(arguments)

    folder = read_labelled(arguments.data, arguments.group_by)
    if arguments.load_episodes is not None:
        sets = [load_episodes(arguments.load_episodes, folder)]
    else:
        sets = [
            draw_episodes(folder, ways, shots, arguments.episodes, arguments.seed, arguments.queries)
            for ways, shots in map(setting, arguments.settings)
        ]
    if arguments.save_episodes is not None:
        save_episodes(arguments.save_episodes, folder, sets[0])
    codec, named = _common.load_codec(arguments.codec, decodes=False)
    llm = [load_llm(locate(name)) for name in arguments.llm] if arguments.llm and arguments.scorer else None
    bench = FewShotEvaluation(
        folder, codec, llm, arguments.template, arguments.scorer, arguments.layers,
        None if arguments.no_whisper else arguments.whisper, named["name"],
    )  # fmt: skip
    with _common.progress() as tell:
        reports = [bench.run(episodes, arguments.seed, tell) for episodes in sets]
    if not bench.processes.first:
        return 0
    found = [report.to_dict(answers=False) for report in reports]
    content = {"provenance": [report.pop("provenance") for report in found][0], "reports": found}
    _common.report(arguments, content, "\n\n".join(report.to_markdown() for report in reports))
    return 0


def setting(text: str) -> tuple[int, int]:
    """ "5x1" -> 5 ways, 1 shot."""
    try:
        ways, shots = map(int, text.split("x"))
    except ValueError:
        raise ConfigError(f"--settings: {text!r} must be ways and shots, as in 5x1") from None
    return ways, shots


if __name__ == "__main__":
    _common.run(main)
