import torch

from llmcodec.llm import FakeLLM
from llmcodec.vocabulary import Vocabulary


def test_two_of_one_seed_agree_and_two_seeds_differ():
    a, b, c = FakeLLM(["dog", "cat"]), FakeLLM(["dog", "cat"]), FakeLLM(["dog", "cat"], seed=1)
    prefix = a.tokenize(" dog cat")
    assert torch.equal(a.prepare([prefix])[0].next_logprobs, b.prepare([prefix])[0].next_logprobs)
    assert not torch.equal(a.prepare([prefix])[0].next_logprobs, c.prepare([prefix])[0].next_logprobs)


def test_words_of_the_prefix_and_their_order_become_likelier():
    llm = FakeLLM(["dog", "cat", "bird"])
    dog, cat, bird = (llm.word_id(word) for word in ("dog", "cat", "bird"))
    before, seen = llm.prepare([[]])[0].next_logprobs, llm.prepare([[dog, cat, dog]])[0].next_logprobs
    assert seen[cat] > before[cat]
    assert seen[bird] < before[bird]
    assert seen[cat] > seen[dog]  # "cat" came behind the last "dog"


def test_the_portable_words_are_its_default():
    vocabulary = Vocabulary.portable()
    assert len(set(vocabulary.token_ids(FakeLLM()))) == len(vocabulary)


def test_other_text_is_bytes():
    assert FakeLLM(["dog"]).tokenize("é dogs\n") == list("é dogs\n".encode())
