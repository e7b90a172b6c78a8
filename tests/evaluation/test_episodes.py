import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcodec.errors import ConfigError
from llmcodec.evaluation import LabelledFolder, draw_episodes, load_episodes, read_labelled, save_episodes


def folder(groups_per_label, clips_per_group, shared):
    """`shared`: groups (speakers) occur in every label; otherwise each label has its own."""
    cells = [
        (f"l{label}", f"g{group}" if shared else f"g{label}-{group}")
        for label, count in enumerate(groups_per_label)
        for group in range(count)
        for _ in range(clips_per_group)
    ]
    files = tuple(Path(f"/clips/{n}.wav") for n in range(len(cells)))
    return LabelledFolder(Path("/clips"), files, *zip(*cells, strict=True), "speaker")


@st.composite
def tasks(draw):
    groups = draw(st.lists(st.integers(2, 5), min_size=2, max_size=5))
    clips = draw(st.integers(1, 3))
    made = folder(groups, clips, draw(st.booleans()))
    ways = draw(st.integers(2, len(groups)))
    shots = draw(st.integers(1, (min(groups) - 1) * clips))
    return made, ways, shots


@given(tasks(), st.integers(1, 12), st.integers(0, 2**32))
def test_episodes_are_split_and_balanced(task, count, seed):
    made, ways, shots = task
    episodes = draw_episodes(made, ways, shots, count, seed)
    assert episodes == draw_episodes(made, ways, shots, count, seed)
    asked = Counter({label: 0 for label in made.classes})
    for episode in episodes:
        assert len(set(episode.labels)) == ways == len(episode.demonstrations)
        assert len(set(episode.clips)) == ways * shots + 1
        (query,) = episode.queries
        assert made.labels[query] in episode.labels
        asked[made.labels[query]] += 1
        for label, clips in zip(episode.labels, episode.demonstrations, strict=True):
            assert len(clips) == shots and {made.labels[clip] for clip in clips} == {label}
            assert made.groups[query] not in {made.groups[clip] for clip in clips}
            others = {group for group, name in zip(made.groups, made.labels, strict=True) if name == label}
            others -= {made.groups[query]}
            assert len({made.groups[clip] for clip in clips}) == min(shots, len(others))
    assert max(asked.values()) - min(asked.values()) <= 1


@given(st.integers(2, 4), st.integers(0, 1000))
def test_several_queries_share_demonstrations_and_no_group(ways, seed):
    made = folder([6] * 4, 2, shared=False)
    episodes = draw_episodes(made, ways, 2, 5, seed, queries=ways)
    asked = Counter(made.labels[query] for episode in episodes for query in episode.queries)
    assert max(asked.values()) - min(asked[label] for label in made.classes) <= 1
    for episode in episodes:
        shown = {made.groups[clip] for clips in episode.demonstrations for clip in clips}
        assert len(set(episode.queries)) == ways
        assert not shown & {made.groups[query] for query in episode.queries}


def test_position_of_the_answer_carries_nothing():
    made = folder([3, 3, 3], 1, shared=False)
    places = Counter(
        episode.labels.index(made.labels[episode.queries[0]]) for episode in draw_episodes(made, 3, 1, 600, 1)
    )
    assert min(places.values()) > 150  # 200 expected, standard deviation 11.5


def test_seeds_differ():
    made = folder([4, 4], 2, shared=True)
    assert draw_episodes(made, 2, 1, 10, 1) != draw_episodes(made, 2, 1, 10, 2)


@pytest.mark.parametrize(
    ("groups", "options", "message"),
    [
        ([2, 2], {"ways": 3}, "3 ways need as many labels"),
        ([2, 2], {"ways": 1}, "ways is 1; it must be 2 or more"),
        ([2, 2], {"shots": 0}, "shots is 0"),
        ([2, 1], {}, "label 'l1' has too few clips: 1 in 1 group by speaker, but 1 must lie in other groups"),
        ([4, 3], {"shots": 3}, "label 'l1' has too few clips: 3 in 3 groups"),
        ([2, 2], {"queries": 3}, "too few clips"),
    ],
)
def test_what_cannot_be_drawn(groups, options, message):
    with pytest.raises(ConfigError, match=message):
        draw_episodes(folder(groups, 1, shared=False), **{"ways": 2, "shots": 1, "episodes": 3, "seed": 0, **options})


@given(tasks(), st.integers(0, 100))
def test_json_round_trip(tmp_path_factory, task, seed):
    made, ways, shots = task
    path = tmp_path_factory.mktemp("episodes") / "episodes.json"
    episodes = draw_episodes(made, ways, shots, 3, seed)
    save_episodes(path, made, episodes)
    assert load_episodes(path, made) == episodes


GOOD = {"demonstrations": {"hiss": ["hiss-0.wav"], "hum": ["hum-0.wav"]}, "queries": ["hum-2.wav"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": ["hum-1.wav"]}, "episode 2: query hum-1.wav shares its recording with a demonstration"),
        ({"queries": ["none.wav"]}, "episode 2: none.wav is not among the 12 clips"),
        ({"queries": ["beep-1.wav"]}, "episode 2: query beep-1.wav has the label 'beep', which is not demonstrated"),
        ({"queries": []}, "episode 2: needs at least one query"),
        ({"queries": "hum-2.wav"}, "episode 2: queries: Input should be a valid"),
        ({"extra": 1}, "episode 2: extra: Extra inputs"),
        (
            {"demonstrations": {"hiss": ["hum-0.wav"], "hum": ["hum-1.wav"]}},
            "hum-0.wav has the label 'hum', not 'hiss'",
        ),
        ({"demonstrations": {"hiss": ["hiss-0.wav"], "hum": []}}, "equally many demonstrations"),
        ({"demonstrations": {"hum": ["hum-0.wav"]}}, "two labels or more"),
    ],
)
def test_bad_episode_files_name_the_episode(sounds, tmp_path, change, message):
    path = tmp_path / "episodes.json"
    path.write_text(json.dumps({"format": "llmcodec-episodes-1", "episodes": [GOOD, {**GOOD, **change}]}))
    with pytest.raises(ConfigError, match=message) as caught:
        load_episodes(path, read_labelled(sounds))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_other_files(sounds, tmp_path):
    path = tmp_path / "episodes.json"
    with pytest.raises(ConfigError, match="No such file"):
        load_episodes(path, read_labelled(sounds))
    path.write_text("{")
    with pytest.raises(ConfigError, match="JSON"):
        load_episodes(path, read_labelled(sounds))
    path.write_text(json.dumps({"format": "other", "episodes": [GOOD]}))
    with pytest.raises(ConfigError, match="format"):
        load_episodes(path, read_labelled(sounds))
