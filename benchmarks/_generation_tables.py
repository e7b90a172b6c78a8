"""Tables of audio out by demonstration, from what speak.py, enhance.py and text_to_audio.py wrote."""

from __future__ import annotations

from typing import Any

from _common import table

GAINS = {"DNSMOS": 2, "SI-SDR": 1, "STOI": 3, "PESQ wb": 2, "WER": 2}  # decimals


def enhance_table(content: dict[str, Any]) -> str:
    """One row per SNR and variant: gains over the noisy clip, whose own figures come first."""
    gains = {name: digits for name, digits in GAINS.items() if name in content["rows"][0]["measures"]}
    rows = []
    for row in content["rows"]:
        plain = row["variant"] == "noisy"
        cells = []
        for name, digits in gains.items():
            found = row["measures" if plain else "gains"][name]
            form = f"{'' if plain else '+'}.{digits}f"
            value, low, high = (format(found[key], form) for key in ("value", "low", "high"))
            cells.append(f"{value} ({low} to {high})")
        rows.append([f"{row['snr']:g} dB", row["variant"], *cells])
    head = ["SNR", "variant", *(f"{name} (dB)" if name == "SI-SDR" else name for name in gains)]
    return "\n".join([table(head, rows), "", f"{content['clips']} clips at each SNR, {content['pairs']} pairs shown."])


def speak_table(content: dict[str, Any]) -> str:
    """What Whisper hears in generated digits and in others, and the questions."""
    rows = [
        [row["what"], percent(row["restricted"]), percent(row["free"]), mean_opinion(row), row["restricted"]["n"]]
        for row in content["rows"]
    ]
    asked = [
        [f"level {row['level']}" if isinstance(row["level"], int) else row["level"], percent(row["answer"]),
         percent(row["heard"]), row["refused"], row["answer"]["n"]]
        for row in content["questions"]
    ]  # fmt: skip
    copies = content["copies"]
    several = ""
    if content.get("candidates", 1) > 1:
        several = f"the best of {content['candidates']} candidates (`{content['rerank']}`); "
    facts = several + (
        f"{content['llm'].rsplit('/', 1)[-1]}, {content['shots']} recordings of each digit shown; of {copies['n']} "
        f"generations {copies['exact']} are copies of a demonstration, word by word, {copies['nearly']} nearly; "
        f"speaker similarity {content['speaker similarity']['value']:.2f}; "
        f"{content['seconds per second']:.1f} s for a second of audio."
    )
    parts = [table(["", "one of the ten (%)", "freely heard (%)", "DNSMOS", "n"], rows), ""]
    if asked:
        parts += [table(["questions", "answered (%)", "answer heard (%)", "refused", "n"], asked), ""]
    return "\n".join([*parts, facts])


def voices_table(results: dict[str, dict[str, Any]]) -> str:
    """Generated digits beside recordings, a voice in each row."""
    rows = []
    for content in results.values():
        by = {row["what"]: row for row in content["rows"]}
        made = by["generated"]
        quality = [mean_opinion(by[name]) for name in ("generated", "other recordings", "their codec round trip")]
        rows.append([content["data"], percent(made["restricted"]), *quality, made["restricted"]["n"]])
    head = ["voice", "one of the ten (%)", "DNSMOS", "of other recordings", "of their round trip", "n"]
    return table(head, rows)


def text_to_audio_table(content: dict[str, Any]) -> str:
    """How far sounds made from their names are from real ones."""
    rows = [
        [row["what"], f"{row['FAD']:.1f}", f"{row['KL']:.2f} ({row['low']:.2f}-{row['high']:.2f})"]
        for row in content["rows"]
    ]
    note = f"{content['llm'].rsplit('/', 1)[-1]}, {content['data']}, {content['clips']} clips of each kind."
    return "\n".join([table(["what", "FAD", "KL"], rows), "", note])


def mean_opinion(row: dict[str, Any]) -> str:
    return "{value:.2f} ({low:.2f}-{high:.2f})".format(**row["dnsmos"])


def percent(found: dict[str, Any]) -> str:
    return f"{100 * found['accuracy']:.0f} ({100 * found['low']:.0f}-{100 * found['high']:.0f})"
