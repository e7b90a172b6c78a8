import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcodec.errors import ConfigError
from llmcodec.generation import FewShotGenerator
from llmcodec.generation.ear import Ear, alignment


def units(seed, count):
    return torch.nn.functional.normalize(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)), dim=-1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(1, 6), st.integers(1, 6))
def test_alignment_is_symmetric_and_bounded_and_forgives_tempo(seed, one, other):
    a, b = units(seed, one), units(seed + 1000, other)
    assert alignment(a, b) == pytest.approx(alignment(b, a), abs=1e-5)
    assert -1 <= alignment(a, b) <= 1
    assert alignment(a, a.repeat_interleave(3, dim=0)) == pytest.approx(1, abs=1e-5)


def test_alignment_is_the_best_of_all_paths():
    a, b = units(0, 3), units(1, 4)
    cost = (1 - a @ b.T).tolist()

    def least(i, j):
        if i == j == 0:
            return 2 * cost[0][0]
        before = [(i - 1, j - 1, 2), (i - 1, j, 1), (i, j - 1, 1)]
        return min(least(x, y) + weight * cost[i][j] for x, y, weight in before if x >= 0 and y >= 0)

    assert alignment(a, b) == pytest.approx(1 - least(2, 3) / 7, abs=1e-6)


def test_order_in_time_counts():
    a = torch.eye(4)
    assert alignment(a, a) == pytest.approx(1) and alignment(a, a.flip(0)) < 0.5


def test_its_probabilities_are_of_all_texts_and_a_demonstration_is_heard_as_itself(tiny_codec, sound):
    texts = ["one", "two", "three"]
    codes = [tiny_codec.encode(sound(9000, seed=number)) for number in range(3)]
    ear = Ear(tiny_codec, texts, codes)
    for own, clip in zip(texts, codes, strict=True):
        told = {text: ear.surely(clip, text) for text in texts}
        assert sum(map(math.exp, told.values())) == pytest.approx(1) and max(told, key=told.__getitem__) == own


def test_a_text_has_as_many_voices_as_demonstrations(tiny_codec, sound):
    codes = [tiny_codec.encode(sound(9000, seed=number)) for number in range(3)]
    once, twice = Ear(tiny_codec, ["a", "b"], codes[:2]), Ear(tiny_codec, ["a", "b", "b"], [*codes[:2], codes[1]])
    assert twice.surely(codes[2], "a") == pytest.approx(once.surely(codes[2], "a"))


def test_clips_have_no_text_to_be_heard(tiny_codec, fake_llm):
    with pytest.raises(ConfigError, match="rerank: heard needs a template whose input is text, not enhance"):
        FewShotGenerator(tiny_codec, fake_llm, "enhance", rerank="heard")
