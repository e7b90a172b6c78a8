#!/usr/bin/env python3
"""Make an audiofolder of digits in one synthetic voice, as benchmarks/speak.py takes it: clean speech, beside
telephone recordings, whose own quality bounds what can be made of them.

    python benchmarks/synthetic_digits.py --kokoro FOLDER --voice af_heart --out DIGITS

Every digit is spoken --each times, at seeded speeds and with seeded punctuation, so that no two clips are the same.
Needs the package kokoro-onnx, and its model and voices in FOLDER.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Sequence
from pathlib import Path

import _common
import numpy as np
import soundfile
import soxr

from llmcodec.errors import ConfigError, ModelError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 16_000
QUIET, MARGIN = 0.01, 0.03  # amplitude below which speech has not begun or is over; seconds kept of that


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kokoro", type=Path, required=True, help="folder with an .onnx model and voices.bin")
    parser.add_argument("--voice", default="af_heart")
    parser.add_argument("--each", type=int, default=20, help="clips of every digit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    try:
        from kokoro_onnx import Kokoro
    except ImportError as error:
        raise ModelError("synthetic digits need the package kokoro-onnx") from error
    models = sorted(arguments.kokoro.glob("*.onnx"))
    if not models:
        raise ConfigError(f"{arguments.kokoro}: no .onnx model in it")
    speaker = Kokoro(str(models[0]), str(arguments.kokoro / "voices.bin"))
    if arguments.voice not in speaker.get_voices():
        raise ConfigError(f"--voice {arguments.voice}: voices are {', '.join(speaker.get_voices())}")
    draw = random.Random(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for digit in DIGITS:
        for number in range(arguments.each):
            text = draw.choice((digit, digit.capitalize())) + draw.choice((".", "!", "?", ","))
            wave, rate = speaker.create(text, voice=arguments.voice, speed=draw.uniform(0.8, 1.2))
            loud = np.flatnonzero(np.abs(wave) > QUIET)
            wave = wave[max(0, loud[0] - round(MARGIN * rate)) : loud[-1] + round(MARGIN * rate)]
            rows.append((f"{digit}_{number}.flac", digit, digit, arguments.voice))
            soundfile.write(arguments.out / rows[-1][0], soxr.resample(wave, rate, RATE).clip(-1, 1), RATE)
    with open(arguments.out / "metadata.csv", "w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([("file_name", "label", "text", "speaker"), *rows])
    print(f"{len(rows)} clips in {arguments.out}")
    return 0


if __name__ == "__main__":
    _common.run(main)
