#!/usr/bin/env python3
"""Write the tables of docs/benchmarks.md and of the README from benchmarks/results/*.json.

A table stands between the lines `<!-- table: NAME -->` and `<!-- end -->`; what is between them is replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from _common import table
from _generation_tables import enhance_table, speak_table, text_to_audio_table, voices_table
from _load_table import load_table
from _reliability_tables import bulk_table, faults_table, fuzz_table, leaks_table

from llmcodec.codec import LLMCodec
from llmcodec.evaluation.provenance import digest

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
WORDS = "nearest neighbour, words"
METHODS = {
    "llm, knn": "LLM, knn",
    WORDS: "NN, same words",
    "prototype, words": "prototype, same words",
    "nearest neighbour, near words": "NN, near words",
    "prototype, near words": "prototype, near words",
    "nearest neighbour, latents": "NN, latents",
    "prototype, latents": "prototype, latents",
    "nearest neighbour, whisper": "NN, Whisper",
    "prototype, whisper": "prototype, Whisper",
    "linear probe, whisper": "probe, Whisper",
    "majority": "majority",
    "chance": "chance",
}
DEFAULT = ("sounds", "emotion", "keywords", "digits")  # results of the default model
MODELS = ("models", "tune")  # results of several language models
PUBLISHED = {
    "2-way 1-shot": "60",
    "3-way 1-shot": "41",
    "4-way 1-shot": "36",
    "5-way 1-shot": "33",
    "6-way 1-shot": "17",
}
DECODERS = {  # results of reconstruct.py, of decoders of the same words
    "reconstruct": "shipped",
    "reconstruct_settle": "without a source",
    "adversarial": "without one, against discriminators",
}
HEADLINE = (
    "llm, knn", WORDS, "nearest neighbour, near words", "nearest neighbour, whisper", "linear probe, whisper",
    "majority", "chance",
)  # fmt: skip


def main() -> None:
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}
    fewshot = {name: content for name, content in results.items() if "reports" in content and name not in MODELS}
    default = {name: fewshot[name] for name in DEFAULT if name in fewshot}
    tables = {
        "fewshot": fewshot_table(fewshot),
        "headline": fewshot_table(default, HEADLINE),
        "scorers": scorers_table(fewshot),
    }
    for name, make in (
        ("speed", speed_table),
        ("codebook_use", use_table),
        ("relevance", relevance_table),
        ("engine", engine_table),
        ("models", models_table),
        ("tune", tune_table),
        ("choose_teacher", teacher_table),
        ("choose_listener", listener_table),
        ("planning", planning_table),
    ):
        if name in results:
            tables[name] = make(results[name])
    if "speed" in results:
        tables["speed_codec"] = speed_table(results["speed"], ("llmcodec",))
    for name, make in (
        ("enhance", enhance_table),
        ("speak", speak_table),
        ("speak-heard", speak_table),
        ("speak-qwen", speak_table),
        ("speak-clean", speak_table),
        ("speak-clean-heard", speak_table),
        ("speak-clean-qwen", speak_table),
        ("text_to_audio", text_to_audio_table),
        ("load", load_table),
        ("reconstruct", reconstruct_table),
        ("reconstruct_sounds", reconstruct_table),
        ("fuzz", fuzz_table),
        ("faults", faults_table),
        ("leaks", leaks_table),
        ("bulk", bulk_table),
    ):
        if name in results:
            tables[name] = f"{make(results[name])} `{name}.json`: {made(results[name])}."
    if results.keys() >= DECODERS.keys():
        tables["decoders"] = decoders_table({name: results[name] for name in DECODERS})
    if voices := {name: content for name, content in results.items() if name.startswith("voice-")}:
        tables["voices"] = "\n".join([voices_table(voices), "", sources(voices)])
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        filled = fill(text, tables, "" if path.parent == ROOT else "../")
        if filled != text:
            path.write_text(filled, encoding="utf-8")
            print(f"filled {path.relative_to(ROOT)}")


def fill(text: str, tables: dict[str, str], to_root: str) -> str:
    """A page with its tables, where every name of a result is a link to it."""

    def replace(found: re.Match[str]) -> str:
        content = tables.get(found[2], "not measured yet")
        linked = re.sub(r"`([\w-]+\.json)`", rf"[`\1`]({to_root}benchmarks/results/\1)", content)
        return f"{found[1]}{linked}\n{found[3]}"

    return re.sub(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", replace, text, flags=re.DOTALL)


def sources(results: dict[str, dict[str, Any]]) -> str:
    """Where each of several results comes from."""
    return " ".join(f"`{name}.json`: {made(content)}." for name, content in results.items())


def made(content: dict[str, Any]) -> str:
    """Where a result comes from, in one line."""
    by = content["provenance"]
    vectors = by["machine"].get("instructions")  # older results do not tell
    known = [
        by["machine"]["processor"] + (f" ({vectors})" if vectors else ""),
        f"{by['threads']} threads",
        by["date"][:10],
        f"commit {(by['commit'] or 'unknown')[:10]}",
    ]
    named = codec_of(content)
    other = [f"another codec ({named})"] if named and named not in shipped() else []
    return ", ".join([*known, f"seed {by['seed']}", *other])


def codec_of(content: Any) -> str | None:
    """What a result says of its codec, the digest of its weights or of those that give the codes; None: nothing."""
    if isinstance(content, list):
        return next(filter(None, map(codec_of, content)), None)
    if not isinstance(content, dict):
        return None
    named = content.get("weights", content.get("codes"))
    return named if isinstance(named, str) else codec_of(list(content.values()))


@cache
def shipped() -> tuple[str, str]:
    """Both digests of the codec inside the package."""
    codec = LLMCodec.from_pretrained()
    return digest(codec), digest(codec, without="decoder.")


def fewshot_table(results: dict[str, Any], methods: Iterable[str] = METHODS) -> str:
    """One row per setting, one column per method."""
    rows = []
    for content in chain.from_iterable(result["reports"] for result in results.values()):
        by_method = {row["method"]: row for row in content["rows"]}
        ece = f"{by_method['llm, knn']['ece']:.3f}"
        rows.append([task(content), *(cell(by_method[name]) if name in by_method else "" for name in methods), ece])
    files = ", ".join(f"`{name}.json`" for name in results)
    notes = sorted({made(content) for content in results.values()})
    head = ["accuracy in %", *(METHODS[name] for name in methods), "calibration error of knn"]
    return "\n".join([table(head, rows), "", f"{files}: {'; '.join(notes)}."])


def scorers_table(results: dict[str, Any]) -> str:
    """One row per scorer, where several met on the same episodes."""
    rows: list[list[str]] = []
    files: dict[str, None] = {}
    for name, content in ((name, report) for name, result in results.items() for report in result["reports"]):
        scorers = [row for row in content["rows"] if row["method"].startswith("llm, ")]
        if len(scorers) < 2:
            continue
        files[f"`{name}.json`"] = None
        pairs = {(pair["method"], pair["other"]): pair for pair in content["comparisons"]}
        for row in scorers:
            numbers = [f"{row['ece']:.3f}", f"{row['log_loss']:.3f}"]
            for method, other in (("llm, knn", row["method"]), (row["method"], WORDS)):
                pair = pairs.get((method, other))
                numbers.append(f"{pair['only_method']} : {pair['only_other']}, p = {pair['p']:.2g}" if pair else "")
            rows.append([task(content), row["method"].removeprefix("llm, "), cell(row), *numbers])
    head = ["", "scorer", "accuracy in %", "calibration error", "log loss"]
    return "\n".join(
        [table([*head, "only knn : only it", "only it : only NN on words"], rows), "", f"{', '.join(files)}."]
    )


def models_table(content: dict[str, Any]) -> str:
    """One row per language model and scorer, one column per setting; the published figures below."""
    head, rows = by_setting(content)
    rows.append(["UniAudio 1.5, LLaMA-2-7B, ESC-50 (published)", *(PUBLISHED.get(name, "") for name in head[1:])])
    first = content["reports"][0]
    note = f"{first['setup']['data']}, n = {first['rows'][-1]['n']} a setting. `models.json`: {made(content)}."
    return "\n".join([table(head, rows), "", note])


def tune_table(content: dict[str, Any]) -> str:
    """Frozen and tuned model on labels never learned, with McNemar's p of each scorer between them."""
    head, rows = by_setting(content)
    lines = []
    for report in content["reports"]:
        for pair in report["comparisons"]:
            one, other = (pair[key].rpartition(", ") for key in ("method", "other"))
            if one[2] == other[2]:
                only = f"only frozen {pair['only_method']}, only tuned {pair['only_other']}, p = {pair['p']:.2g}"
                lines.append(f"{setting(report)}, {one[2]}: {only}")
    learned, first = content["learned"], content["reports"][0]
    note = (
        f"Learned: {learned['lessons']} lessons of {', '.join(learned['labels'])} ({learned['clips']} clips), rank "
        f"{learned['rank']}; loss {content['losses'][0][1]:.2f} to {content['losses'][-1][1]:.2f}. Tested on "
        f"{first['setup']['data']}, n = {first['rows'][-1]['n']} a setting. {'; '.join(lines)} (McNemar). "
        f"`tune.json`: {made(content)}."
    )
    return "\n".join([table(head, rows), "", note])


def by_setting(content: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    cells: dict[str, list[str]] = {}
    for report in content["reports"]:
        for row in report["rows"]:
            if row["method"].startswith("llm ") or row["method"] in METHODS:
                name = METHODS.get(row["method"]) or row["method"].removeprefix("llm ").rsplit("/", 1)[-1]
                cells.setdefault(name, []).append(cell(row))
    return ["accuracy in %", *map(setting, content["reports"])], [[name, *row] for name, row in cells.items()]


def setting(content: dict[str, Any]) -> str:
    return f"{content['setup']['ways']}-way {content['setup']['shots']}-shot"


def task(content: dict[str, Any]) -> str:
    setup = content["setup"]
    model = f"{setup['llm'].rsplit('/', 1)[-1]}, n = {content['rows'][-1]['n']}"
    return f"{setup['data']}, {setting(content)}<br>{model}"


def cell(row: dict[str, Any]) -> str:
    if row["low"] is None:
        return f"{100 * row['accuracy']:.0f}"
    return f"{100 * row['accuracy']:.1f} ({100 * row['low']:.0f}-{100 * row['high']:.0f})"


def engine_table(content: dict[str, Any]) -> str:
    many = content["many"]
    rows = [
        [row["scorer"], f"{1000 * row['once_s']:.0f} ms", f"{1000 * row['anew_s']:.0f} ms",
         f"{row['times_faster']:.0f}", f"{row['largest_difference']:.0e}"]
        for row in content["rows"]
    ]  # fmt: skip
    head = ["5-way 5-shot", "a query, fitted once", "a query, all anew", "times faster", "largest difference of scores"]
    note = (
        f"{content['queries']} queries of {content['seconds_per_query']:g} s, {content['llm'].rsplit('/', 1)[-1]}. "
        f"{many['ways']}-way {many['shots']}-shot by knn: {many['seconds']} s with the queries, peak memory of the "
        f"process {many['peak_mb']} MB. `engine.json`: {made(content)}."
    )
    return "\n".join([table(head, rows), "", note])


def speed_table(content: dict[str, Any], systems: Container[str] | None = None) -> str:
    """One row per codec and step; systems: the codecs that are shown, None: all."""
    lengths = sorted({row["seconds"] for row in content["rows"]})
    cells: dict[tuple[str, str], dict[float, str]] = {}
    shown_rows = [row for row in content["rows"] if systems is None or row["system"] in systems]
    for row in shown_rows:  # a row beside peers replaces that of the codec alone
        shown = f"{1000 * row['median_s']:.0f} ms ({row['times_real_time']:.1f})"
        cells.setdefault((row["system"], row["step"]), {})[row["seconds"]] = shown
    rows = [[system, step, *(found.get(n, "-") for n in lengths)] for (system, step), found in cells.items()]
    head = ["codec", "step", *(f"{n:g} s" for n in lengths)]
    missing = [f" Not timed: {'; '.join(content['missing'])}."] if content["missing"] else []
    peaks = ", ".join(f"{name.replace('_', ' ')} {size}" for name, size in content["peak_memory_mb"].items())
    note = f"Times real time in brackets. Peak memory of the codec (MB): {peaks}. `speed.json`: {made(content)}."
    return "\n".join([table(head, rows), "", note + "".join(missing)])


def reconstruct_table(content: dict[str, Any]) -> str:
    rows = []
    for name, row in content["rows"].items():
        if row["n"]:
            label, value, interval = measured(name, row)
            rows.append([label, value, interval, row["n"]])
    rate = f"{content['tokens_per_second']:.1f} tokens/s, {content['bits_per_second']:.0f} bit/s"
    head = ["measure", "mean", "95 % interval", "clips"]
    return "\n".join([table(head, rows), "", f"{rate}. Clips of {content['data']['name']}."])


def measured(name: str, row: dict[str, Any]) -> tuple[str, str, str]:
    """A measure's label, its mean and its interval."""
    unit, digits = (100.0, 1) if name.startswith("WER") else (1.0, 3)
    value, low, high = (f"{unit * row[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{name} (%)" if name.startswith("WER") else name, value, f"{low} - {high}"


def decoders_table(results: dict[str, dict[str, Any]]) -> str:
    """Decoders of the same words, measure by measure."""
    rows = []
    for name in next(iter(results.values()))["rows"]:
        found = [content["rows"].get(name, {"n": 0}) for content in results.values()]
        if all(row["n"] for row in found):
            labels, values, intervals = zip(*(measured(name, row) for row in found), strict=True)
            cells = [f"{value} ({interval})" for value, interval in zip(values, intervals, strict=True)]
            rows.append([labels[0], *cells])
    head = ["measure", *(DECODERS[name] for name in results)]
    return "\n".join([table(head, rows), "", f"Clips of speech. {sources(results)}"])


def use_table(content: dict[str, Any]) -> str:
    rows = [
        [r["data"], r["layer"], r["codes"], f"{r['different']} of {r['words']}", f"{r['bits']:.2f} of {r['bound']:.2f}",
         f"{100 * r['share']:.0f} %"]
        for r in content["rows"]
    ]  # fmt: skip
    head = ["data", "layer", "codes", "different words", "bits", "share of the bound"]
    return "\n".join([table(head, rows), "", f"`codebook_use.json`: {made(content)}."])


def relevance_table(content: dict[str, Any]) -> str:
    cells: dict[str, list[str]] = {}
    for row in content["rows"]:
        cells.setdefault(row["data"], []).append(f"{row['value']:.3f} ({row['low']:.3f}-{row['high']:.3f})")
    head = ["data", "words", "words exchanged"]
    rows = [[data, *found] for data, found in cells.items()]
    return "\n".join([table(head, rows), "", f"`relevance.json`: {made(content)}."])


def planning_table(content: dict[str, Any]) -> str:
    """One row per quantity; bytes as gigabytes."""
    rows = []
    for row in content["rows"]:
        unit = 1e9 if row["what"].startswith("bytes") else 1
        numbers = [row[key] / unit for key in ("one_hour", *map(str, content["hours"]))]
        cells = [f"{number:,.0f}" if number >= 100 else f"{number:.3g}" for number in numbers]
        rows.append([row["what"].replace("bytes", "GB", 1), *cells])
    head = ["", "an hour of audio", *(f"{n:,} hours" for n in content["hours"])]
    note = f"Shards of {' and '.join(content['data'])}. `planning.json`: {made(content)}."
    return "\n".join([table(head, rows), "", note])


def teacher_table(content: dict[str, Any]) -> str:
    tasks = [key for key in content["rows"][0] if "way" in key]
    keys = ["layer", "words", "caption_dims", "context"]
    rows = [
        [*(row.get(key, "") for key in keys), *(f"{100 * row[task]:.1f}" for task in tasks)] for row in content["rows"]
    ]
    head = ["Whisper layer", "words", "caption dimensions", "clip's share", *(f"{task} (%)" for task in tasks)]
    return "\n".join([table(head, rows), "", f"`choose_teacher.json`: {made(content)}."])


def listener_table(content: dict[str, Any]) -> str:
    tasks = [key for key in content["rows"][0] if "way" in key]
    rows = [
        ["Whisper" if row["inherit"] else "nothing", row["words"], *(f"{100 * row[task]:.1f}" for task in tasks)]
        for row in content["rows"]
    ]
    head = ["begun with", "words compared", *(f"{task} (%)" for task in tasks)]
    note = f"{content['steps']} steps. `choose_listener.json`: {made(content)}."
    return "\n".join([table(head, rows), "", note])


if __name__ == "__main__":
    main()
