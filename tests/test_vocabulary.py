import pytest

from llmcodec.errors import ModelError
from llmcodec.llm import FakeLLM
from llmcodec.vocabulary import Vocabulary


def test_a_code_is_the_position_of_its_word():
    vocabulary = Vocabulary(("sun", "moon", "sea"))
    assert len(vocabulary) == 3 and list(vocabulary) == ["sun", "moon", "sea"]
    assert vocabulary.codes(["sea", "sun", "sea"]) == [2, 0, 2]
    with pytest.raises(ModelError, match="'star' is not one of the codec's 3 words"):
        vocabulary.codes(["sun", "star"])


def test_words_are_there_and_differ():
    with pytest.raises(ModelError, match="at least one word"):
        Vocabulary(())
    with pytest.raises(ModelError, match="twice: moon, sun"):
        Vocabulary(("sun", "moon", "sun", "sea", "moon"))


def test_the_lists_inside_the_package_hold_plain_distinct_words():
    portable, whole = Vocabulary.portable(), Vocabulary.whole_words()
    assert len(portable) > 2000 and set(whole) <= set(portable)
    assert all(word == word.strip() and word.isalpha() for word in portable)
    assert all(len(word) >= 4 for word in whole)


def test_words_become_token_ids_in_code_order():
    llm = FakeLLM(["moon", "sun", "sea"])
    assert Vocabulary(("sun", "moon")).token_ids(llm) == [llm.word_id("sun"), llm.word_id("moon")]
    assert Vocabulary.from_llm(llm) == Vocabulary(("moon", "sun", "sea"))


def test_words_that_a_model_lacks_are_named():
    with pytest.raises(ModelError, match=r"2 of the codec's 3 words are not single tokens of fake \(star, lake\)"):
        Vocabulary(("star", "sun", "lake")).token_ids(FakeLLM(["sun"]))
