#!/usr/bin/env python3
"""Make the demonstration clips inside the package out of the samples of Sonic Pi.

    python tools/make_demo_clips.py SOURCE_FOLDER [--out llmcodec/data/demo]

SOURCE_FOLDER holds the FLAC files of Debian's package sonic-pi-samples (usr/share/sonic-pi/samples). Only recordings
that the package's copyright file lists under CC0 are taken. Writes demonstrations/LABEL/*.flac, queries/*.flac,
queries.csv and README.md into an empty or missing folder.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from llmcodec.audio import load_audio, save_audio
from llmcodec.errors import LLMCodecError

SAMPLE_RATE = 16_000
MAX_SECONDS = 4
DEMONSTRATIONS = 3

# label -> recordings as (file, author, number at freesound.org); the first DEMONSTRATIONS of them demonstrate.
RECORDINGS = {
    "bass": [
        ("bass_hard_c", "ani_music", 165309),
        ("bass_thick_c", "ani_music", 165314),
        ("bass_woodsy_c", "ani_music", 165322),
        ("bass_voxy_c", "ani_music", 165325),
        ("bass_trance_c", "ani_music", 165329),
    ],
    "beat": [
        ("loop_compus", "godspine", 212288),
        ("loop_garzul", "Garzul", 213524),
        ("loop_industrial", "godspine", 222072),
        ("loop_mika", "mika55", 188551),
        ("loop_safari", "nemaavla", 318759),
    ],
    "cymbal": [
        ("drum_cymbal_hard", "menegass", 100056),
        ("drum_cymbal_soft", "menegass", 100057),
        ("drum_splash_soft", "menegass", 100061),
        ("drum_cymbal_open", "menegass", 100055),
        ("drum_splash_hard", "menegass", 100060),
    ],
    "tabla": [
        ("tabla_ghe2", "dio_333", 130405),
        ("tabla_na_o", "dio_333", 130422),
        ("tabla_tun1", "dio_333", 130416),
        ("tabla_ghe3", "dio_333", 130404),
        ("tabla_tun3", "dio_333", 130420),
    ],
}

README = """\
# Demonstration clips

Four sounds: three labelled recordings of each in `demonstrations/LABEL/`, and eight others in `queries/`, labelled
in `queries.csv`. 16 kHz, mono, 16-bit FLAC, cut to {seconds} s at most. Made by `tools/make_demo_clips.py` from the
samples of Sonic Pi (Debian package `sonic-pi-samples`), which took them from freesound.org.

Licence of every clip: CC0 1.0 (public domain dedication). None of them is training data of the shipped weights.

| clip | label | sample of Sonic Pi | author and number at freesound.org |
|---|---|---|---|
{rows}
"""


def make_clip(source: Path, target: Path) -> None:
    """Cut, and scale down only what would clip."""
    wave = load_audio(source, SAMPLE_RATE)[: MAX_SECONDS * SAMPLE_RATE]
    target.parent.mkdir(parents=True, exist_ok=True)
    save_audio(target, wave / max(1.0, float(wave.abs().max())), SAMPLE_RATE)


def make_all(source: Path, out: Path) -> None:
    rows: list[str] = []
    queries: list[tuple[str, str]] = []
    for position in range(max(map(len, RECORDINGS.values()))):  # position first: the queries' labels take turns
        for label, recordings in RECORDINGS.items():
            file, author, number = recordings[position]
            if position < DEMONSTRATIONS:
                clip = f"demonstrations/{label}/{label}{position + 1}.flac"
            else:
                clip = f"queries/query{len(queries) + 1}.flac"
                queries.append((clip, label))
            make_clip(source / f"{file}.flac", out / clip)
            rows.append(f"| {clip} | {label} | {file}.flac | {author}, {number} |")
    with open(out / "queries.csv", "w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("file", "label"))
        writer.writerows(queries)
    (out / "README.md").write_text(README.format(seconds=MAX_SECONDS, rows="\n".join(sorted(rows))), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the demonstration clips inside the package.")
    parser.add_argument("source", type=Path, metavar="SOURCE_FOLDER")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "llmcodec" / "data" / "demo")
    options = parser.parse_args()
    try:
        make_all(options.source, options.out)
    except LLMCodecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
