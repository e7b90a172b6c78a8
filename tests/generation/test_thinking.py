import pytest

from llmcodec.errors import PromptError
from llmcodec.generation import FewShotGenerator, Thinker, thinking


@pytest.fixture
def always(monkeypatch):
    """However improbable, one of the answers is given."""
    monkeypatch.setattr(thinking, "DOUBT", 0.0)


def test_the_answer_is_one_that_was_demonstrated(fake_llm, always):
    found = Thinker(fake_llm, ["one", "two", "one"]).answer("What is one plus one?")
    assert set(found.chances) == {"one", "two"} and sum(found.chances.values()) == pytest.approx(1)
    assert found.text == max(found.chances, key=found.chances.get) and 0 <= found.covered <= 1


def test_the_answer_is_spoken(tiny_codec, fake_llm, spoken, always):
    made = FewShotGenerator(tiny_codec, fake_llm).fit(*spoken)
    found = made.generate("What is one plus one?", think=True)
    assert found.answer and found.said == tuple(made.said(found.answer.text))
    assert found.wave.equal(made.generate(found.answer.text).wave)


def test_an_answer_that_was_not_demonstrated_is_refused(generator):
    with pytest.raises(PromptError, match="the answer is none of the demonstrated texts, by fake .* demonstrate"):
        generator.generate("What is nine times nine?", think=True)
    with pytest.raises(PromptError, match="question ' ' is empty"):
        generator.generate(" ", think=True)
