"""Query and demonstrations must not share a recording, a speaker or the audio itself: every way in is shut."""

import csv
import json
import shutil

import pytest

from llmcodec.errors import ConfigError
from llmcodec.evaluation import FewShotEvaluation, draw_episodes, load_episodes, read_labelled
from llmcodec.evaluation.scp import read_scp


@pytest.fixture
def planted(sounds, tmp_path):
    """The sounds, four of each label: the second shares the first one's recording, the fourth its speaker."""
    folder = tmp_path / "planted"
    shutil.copytree(sounds, folder)
    table = folder / "metadata.csv"
    rows = list(csv.DictReader(table.open()))
    first: dict[str, int] = {}
    for number, row in enumerate(rows):
        begin = first.setdefault(row["label"], number)
        row["recording"] = f"recording {begin if number == begin + 1 else number}"
        row["speaker"] = f"speaker {begin if number == begin + 3 else number}"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def clips(folder, label):
    return [place for place, name in enumerate(folder.labels) if name == label]


def episodes_file(path, folder, query, shown):
    """One episode that asks about `query` and demonstrates its label with `shown`."""
    names, other = folder.names, next(name for name in folder.classes if name != folder.labels[query])
    demonstrations = {folder.labels[query]: [names[shown]], other: [names[clips(folder, other)[0]]]}
    row = {"demonstrations": demonstrations, "queries": [names[query]]}
    path.write_text(json.dumps({"format": "llmcodec-episodes-1", "episodes": [row]}))
    return path


def test_the_same_speaker_or_recording_is_never_drawn(planted):
    table = {row["file_name"]: row for row in csv.DictReader((planted / "metadata.csv").open())}
    folder = read_labelled(planted)
    assert folder.group_by == "recording + speaker"
    for episode in draw_episodes(folder, 2, 1, 200, 0):
        for query in episode.queries:
            asked = table[folder.names[query]]
            for shown in (table[folder.names[clip]] for row in episode.demonstrations for clip in row):
                assert asked["speaker"] != shown["speaker"] and asked["recording"] != shown["recording"]


def test_a_planted_recording_speaker_or_clip_is_refused(planted, tmp_path):
    folder = read_labelled(planted)
    first, recording, _, speaker = clips(folder, folder.classes[0])
    for shown in (recording, speaker, first):
        with pytest.raises(
            ConfigError, match="episode 1: query .* shares its recording \\+ speaker with a demonstration"
        ):
            load_episodes(episodes_file(tmp_path / "leak.json", folder, first, shown), folder)


def test_the_same_file_under_another_name_is_refused(sounds, codec, tmp_path):
    shutil.copytree(sounds, tmp_path / "copy")
    folder = read_labelled(tmp_path / "copy")
    first = clips(folder, folder.classes[0])[0]
    other = next(c for c in clips(folder, folder.classes[0]) if folder.groups[c] != folder.groups[first])
    shutil.copy(folder.files[first], folder.files[other])
    bench = FewShotEvaluation(folder, codec, scorers=(), whisper=None)
    leak = load_episodes(episodes_file(tmp_path / "leak.json", folder, first, other), folder)
    with pytest.raises(ConfigError, match="hold the same audio"):
        bench.run(leak)


def test_a_list_that_asks_about_what_it_shows_is_refused(sounds, tmp_path):
    folder = read_labelled(sounds)
    one, two = (clips(folder, label)[0] for label in folder.classes[:2])
    items = [f"{folder.labels[clip]}/{folder.files[clip].name}" for clip in (one, two, one)]
    (tmp_path / "list.scp").write_text(",".join(items) + ",\n")
    with pytest.raises(ConfigError, match="line 1: the query"):
        read_scp(tmp_path / "list.scp", folder.files[one].parent)
