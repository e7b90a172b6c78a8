import pytest

from llmcodec.generation import FewShotGenerator
from llmcodec.llm import FakeLLM
from llmcodec.vocabulary import Vocabulary


@pytest.fixture(scope="session")
def fake_llm():
    """A fake with the words of the tiny codec."""
    return FakeLLM(Vocabulary.portable().words[:80])


@pytest.fixture(scope="session")
def spoken(sound):
    """Texts and recordings: three of "one", two of "two", one of "thirty three"."""
    texts = ["one", "two", "One.", "thirty three", "two", "one"]
    return texts, [sound(3000 + 900 * n, seed=n) for n in range(len(texts))]


@pytest.fixture(scope="session")
def generator(tiny_codec, fake_llm, spoken):
    return FewShotGenerator(tiny_codec, fake_llm).fit(*spoken)
