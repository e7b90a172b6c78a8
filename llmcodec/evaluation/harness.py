"""Few-shot episodes as tasks of lm-evaluation-harness: the prompts of `direct` as text, for any model it can run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from llmcodec.codec import AudioCodes, LLMCodec, WordSpace
from llmcodec.errors import ConfigError
from llmcodec.evaluation.dataset import LabelledFolder
from llmcodec.evaluation.episodes import Episode
from llmcodec.evaluation.fewshot import Progress, encode_clips
from llmcodec.evaluation.provenance import write_text
from llmcodec.icl.direct import in_turn
from llmcodec.prompting import TaskTemplate, instruction


def export_task(
    out: Path,
    name: str,
    folder: LabelledFolder,
    codec: LLMCodec,
    template: TaskTemplate,
    episodes: Sequence[Episode],
    progress: Progress | None = None,
) -> tuple[Path, Path]:
    """Write `name`.yaml and `name`.jsonl into `out`; returns both.

    A document holds the prompt, the labels to choose from and the right one's place; the harness compares the
    likelihoods of the labels behind the prompt. Query and demonstrations of an episode share no group, as everywhere.
    Run in `out`: lm_eval --include_path . --tasks NAME --model hf --model_args pretrained=MODEL
    """
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ConfigError(f"the task name {name!r} must be of letters, digits, - and _")
    used = sorted({clip for episode in episodes for clip in episode.clips})
    tell = progress or (lambda stage, done, total: None)
    codes = encode_clips(folder, codec, used, lambda done, total: tell("encode", done, total))
    words = {clip: words_text(codes[clip], codec, template.layers) for clip in used}
    documents = []
    for episode in episodes:
        pairs = zip(episode.demonstrations, episode.labels, strict=True)
        shown = in_turn([[(words[clip], label) for clip in clips] for clips, label in pairs])
        choices = sorted(episode.labels)
        for query in episode.queries:
            documents.append(
                {
                    "prompt": prompt_text(template, shown, words[query], choices),
                    "choices": [template.label_space + label for label in choices],
                    "gold": choices.index(folder.labels[query]),
                    "file": folder.names[query],
                }
            )
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": f"{name}.jsonl"}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{gold}}",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    described, data = out / f"{name}.yaml", out / f"{name}.jsonl"
    write_text(data, "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents))
    write_text(described, yaml.safe_dump(task, sort_keys=False))
    return described, data


def words_text(codes: AudioCodes, codec: LLMCodec, layers: Sequence[str]) -> str:
    """The words of one clip, layer after layer, a space before each."""
    rows = [(codec.vocabularies[place], codes.layers[place][0]) for place in WordSpace(codec, layers).places]
    return "".join(f" {vocabulary.words[code]}" for vocabulary, row in rows for code in row.tolist() if code >= 0)


def prompt_text(template: TaskTemplate, shown: Sequence[tuple[str, str]], query: str, labels: Sequence[str]) -> str:
    """What `PromptBuilder.direct` says, as text. shown: words and label of each demonstration."""
    blocks = [
        f"{template.head}{words}{template.lead}{template.label_space}{label}{template.tail}" for words, label in shown
    ]
    return "".join([instruction(template, labels), *blocks, template.query_head, query, template.lead])
