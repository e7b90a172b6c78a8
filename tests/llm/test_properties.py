"""What every FrozenLLM promises, on three tiny transformers and the fake."""

import pytest
import torch

from llmcodec.errors import ModelError, PromptError
from llmcodec.llm import FrozenLLM

PREFIX = [20, 21, 22, 20, 21, 23, 24, 20, 21, 25, 26, 27]  # longer than the sliding window of the tiny Gemma
CONTINUATIONS = [[22, 20, 30], [40], [], [20, 21, 22, 23, 24, 25, 26, 27, 28, 29], [31, 31]]


def close(a, b):
    return torch.allclose(a, b, atol=1e-4, rtol=0)


def test_it_meets_the_protocol(llm):
    assert isinstance(llm, FrozenLLM)


def test_a_cached_prefix_equals_a_full_pass_for_each_token(llm):
    scores = llm.log_likelihood(llm.prepare(PREFIX), CONTINUATIONS)
    for ids, score in zip(CONTINUATIONS, scores, strict=True):
        full = [llm.prepare(PREFIX + ids[:i]).next_logprobs[token] for i, token in enumerate(ids)]
        assert score.dtype == torch.float32 and score.shape == (len(ids),)
        assert close(score, torch.tensor(full))


def test_a_batch_equals_singles_in_the_order_given(llm):
    together = llm.log_likelihood(PREFIX, CONTINUATIONS)
    backwards = llm.log_likelihood(PREFIX, CONTINUATIONS[::-1])[::-1]
    for ids, one, other in zip(CONTINUATIONS, together, backwards, strict=True):
        assert close(one, llm.log_likelihood(PREFIX, [ids])[0])
        assert close(one, other)


def test_scoring_leaves_the_prefix_as_it_was(llm):
    prefix = llm.prepare(PREFIX)
    first = llm.log_likelihood(prefix, CONTINUATIONS)
    again = llm.log_likelihood(prefix, CONTINUATIONS)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(prefix) == len(PREFIX)


def test_next_token_logprobs_are_those_of_each_prefix_and_sum_to_one(llm):
    prefixes = [PREFIX[:3], [], PREFIX, PREFIX[:1]]
    rows = llm.next_token_logprobs(prefixes)
    assert close(rows, torch.stack([llm.prepare(ids).next_logprobs for ids in prefixes]))
    assert close(rows.exp().sum(1), torch.ones(4))
    assert llm.next_token_logprobs([]).shape == (0, rows.shape[1])


def test_results_can_be_changed_in_place(llm):
    llm.log_likelihood(PREFIX, [[20]])[0].add_(1)
    llm.next_token_logprobs([PREFIX]).add_(1)
    llm.prepare(PREFIX).next_logprobs.clone().add_(1)


def test_an_empty_prefix_is_the_start_token(llm):
    start = list(llm.prepare([]).ids)
    assert len(start) == 1
    assert llm.bos_id is None or start == [llm.bos_id]
    assert torch.equal(llm.log_likelihood([], [[20, 21]])[0], llm.log_likelihood(start, [[20, 21]])[0])


def test_the_context_may_be_full_but_not_more(llm):
    prefix = [20] * (llm.max_context - 2)
    assert llm.log_likelihood(prefix, [[21, 22]])[0].shape == (2,)
    with pytest.raises(PromptError, match=r"65 tokens \(62 prefix, 3 continuation\).*64 tokens; shorten it by 1"):
        llm.log_likelihood(prefix, [[21], [21, 22, 23]])
    with pytest.raises(PromptError, match="65 tokens"):
        llm.prepare([20] * 65)
    with pytest.raises(PromptError, match="65 tokens"):
        llm.next_token_logprobs([[20] * 65])


@pytest.mark.parametrize("wrong", [-1, 100_000])
def test_an_id_outside_the_vocabulary_is_named(llm, wrong):
    with pytest.raises(PromptError, match=f"token id {wrong} "):
        llm.log_likelihood([20], [[wrong]])
    with pytest.raises(PromptError, match=f"token id {wrong} "):
        llm.next_token_logprobs([[wrong]])


def test_words_are_single_tokens_behind_a_space(llm):
    words = llm.words()
    assert {"dog", "bird", "wind"} <= words.keys()
    for word in ("dog", "bird", "wind"):
        assert llm.tokenize(f" {word}") == [words[word]] == [llm.word_id(word)]
    with pytest.raises(ModelError, match="'dog bird' is not a single token"):
        llm.word_id("dog bird")


def test_tokenize_joins(llm):
    assert llm.tokenize("") == []
    assert llm.tokenize(" dog bird") == llm.tokenize(" dog") + llm.tokenize(" bird")
    assert llm.tokenize("dog") != llm.tokenize(" dog")
