"""The clips inside the package are what the demonstration and the documentation promise."""

import csv
from pathlib import Path

import soundfile

import llmcodec
from llmcodec.audio import audio_info, load_audio

DEMO = Path(llmcodec.__file__).parent / "data" / "demo"
CLIPS = sorted(DEMO.rglob("*.flac"))


def test_every_clip_is_short_mono_16_bit_flac_at_16_khz() -> None:
    for clip in CLIPS:
        info = audio_info(clip)
        assert (info.sample_rate, info.channels, soundfile.info(clip).subtype) == (16_000, 1, "PCM_16")
        assert 0.5 <= info.seconds <= 4
        assert load_audio(clip).abs().max() > 0.1
    assert sum(clip.stat().st_size for clip in CLIPS) < 1_500_000


def test_every_query_has_a_label_with_three_demonstrations_and_every_clip_an_origin() -> None:
    with open(DEMO / "queries.csv", newline="", encoding="utf-8") as table:
        labels = {row["file"]: row["label"] for row in csv.DictReader(table)}
    folders = {folder.name: len(list(folder.glob("*.flac"))) for folder in (DEMO / "demonstrations").iterdir()}
    assert folders == dict.fromkeys(labels.values(), 3)
    assert sorted(DEMO / file for file in labels) == sorted((DEMO / "queries").iterdir())
    readme = (DEMO / "README.md").read_text(encoding="utf-8")
    assert all(clip.relative_to(DEMO).as_posix() in readme for clip in CLIPS)
    assert len({load_audio(clip).numpy().tobytes() for clip in CLIPS}) == len(CLIPS) == 20
