import pytest
import torch

from llmcodec.errors import ConfigError, PromptError
from llmcodec.llm import FakeLLM
from llmcodec.prompting import ClipWords, PromptBuilder, load_template
from llmcodec.tuning import Lessons, hold_out_labels
from llmcodec.tuning.lessons import IGNORED


@pytest.fixture
def builder(tiny_codec):
    return PromptBuilder(load_template("sound"), FakeLLM(), tiny_codec.vocabularies, tiny_codec.layer_names)


@pytest.fixture
def words(labelled, builder):
    """Each clip is one word four times, another one for every clip."""
    return {clip: ClipWords([[builder.tokens[0][clip]] * 4]) for clip in range(len(labelled))}


@pytest.fixture
def taught(labelled, words, builder):
    """taught(lesson) -> the clips of a lesson in order, what each was called, and whether that is to be learned."""
    clips = {row[0]: clip for clip, row in words.items()}
    names = {tuple(builder.label_ids(name)): name for name in labelled.classes}

    def read(lesson):
        ids, marks = lesson["input_ids"].tolist(), lesson["labels"].tolist()
        lead, tail = builder.llm.tokenize("\nLabel:"), builder.llm.tokenize("\n\n")
        rows, place = [], 0
        while place < len(ids):
            if ids[place] in clips and ids[place : place + 4] == [ids[place]] * 4:
                clip, place = clips[ids[place]], place + 4 + len(lead)
                for label, name in names.items():
                    if tuple(ids[place : place + len(label)]) == label and ids[place + len(label) :][:1] == tail[:1]:
                        learned = {mark != IGNORED for mark in marks[place : place + len(label)]}
                        assert len(learned) == 1
                        rows.append((clip, name, learned.pop()))
            place += 1
        learned_tokens = sum(len(builder.label_ids(name)) for _, name, learned in rows if learned)
        assert sum(mark != IGNORED for mark in marks) == learned_tokens
        assert all(mark in (IGNORED, token) for token, mark in zip(ids, marks, strict=True))
        return rows

    return read


def test_a_lesson_can_be_solved_from_what_it_showed(labelled, words, builder, taught):
    lessons, exchanged = Lessons(labelled, words, builder, 40, ways=(2, 3), shots=2, seed=1), 0
    for lesson in lessons:
        called, groups = {}, set()
        rows = taught(lesson)
        assert len({labelled.labels[clip] for clip, _, _ in rows}) in (2, 3) and any(learned for *_, learned in rows)
        for clip, name, learned in rows:
            label = labelled.labels[clip]
            assert learned == (label in called)
            assert called.setdefault(label, name) == name
            assert labelled.groups[clip] not in groups
            groups.add(labelled.groups[clip])
        assert sorted(called) == sorted(called.values())
        exchanged += any(label != name for label, name in called.items())
    assert 10 < exchanged < 40


def test_a_lesson_depends_on_seed_and_number_alone(labelled, words, builder):
    one, more = (Lessons(labelled, words, builder, count, seed=4) for count in (3, 9))
    assert torch.equal(one[2]["input_ids"], more[2]["input_ids"]) and len(more) == 9
    other = Lessons(labelled, words, builder, 3, seed=5)
    assert not torch.equal(one[2]["input_ids"], other[2]["input_ids"])
    with pytest.raises(IndexError):
        one[3]


def test_tokens_bound_a_lesson(labelled, words, builder):
    lessons = Lessons(labelled, words, builder, 20, ways=(2,), tokens=200)
    assert all(len(lesson["input_ids"]) <= 200 for lesson in lessons)
    with pytest.raises(PromptError, match="60 tokens do not hold 3 of the longest clips, 4 words each"):
        Lessons(labelled, words, builder, 1, ways=(2,), tokens=60)


def test_ways_that_the_labels_do_not_give_are_refused(labelled, words, builder):
    for ways in ((1,), (2, 6)):
        with pytest.raises(ConfigError, match="ways must lie between 2 and 5"):
            Lessons(labelled, words, builder, 1, ways=ways)


def test_labels_are_held_out_whole(labelled):
    learned, held = hold_out_labels(labelled, 0.4, 0)
    assert len(learned.classes) == 3 and len(held.classes) == 2
    assert not set(learned.classes) & set(held.classes) and len(learned) + len(held) == len(labelled)
    assert hold_out_labels(labelled, 0.4, 0) == (learned, held)
    assert hold_out_labels(labelled, 0, 0)[1] is None
    for share in (0.1, 0.9):
        with pytest.raises(ConfigError, match="fewer than two on a side"):
            hold_out_labels(labelled, share, 0)
