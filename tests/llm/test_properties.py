"""What every FrozenLLM promises, on three tiny transformers and the fake."""

import pytest
import torch

from llmcodec.errors import ModelError, PromptError
from llmcodec.llm import FrozenLLM

PREFIX = [20, 21, 22, 20, 21, 23, 24, 20, 21, 25, 26, 27]  # longer than the sliding window of the tiny Gemma
CONTINUATIONS = [[22, 20, 30], [40], [], [20, 21, 22, 23, 24, 25, 26, 27, 28, 29], [31, 31]]


def score(llm, prefix, continuations):
    prepared = llm.prepare([prefix])[0]
    return llm.log_likelihood([(prepared, ids) for ids in continuations])


def close(a, b):
    return torch.allclose(a, b, atol=1e-4, rtol=0)


def test_it_meets_the_protocol(llm):
    assert isinstance(llm, FrozenLLM)


def test_a_cached_prefix_equals_a_full_pass_for_each_token(llm):
    scores = score(llm, PREFIX, CONTINUATIONS)
    for ids, found in zip(CONTINUATIONS, scores, strict=True):
        full = [llm.prepare([PREFIX + ids[:i]])[0].next_logprobs[token] for i, token in enumerate(ids)]
        assert found.dtype == torch.float32 and found.shape == (len(ids),)
        assert close(found, torch.tensor(full))


def test_a_batch_equals_singles_in_the_order_given(llm):
    together = score(llm, PREFIX, CONTINUATIONS)
    backwards = score(llm, PREFIX, CONTINUATIONS[::-1])[::-1]
    for ids, one, other in zip(CONTINUATIONS, together, backwards, strict=True):
        assert close(one, score(llm, PREFIX, [ids])[0])
        assert close(one, other)


def test_prefixes_prepared_together_equal_those_prepared_alone(llm):
    prefixes = [PREFIX[:3], [], PREFIX, PREFIX[2:9]]
    together = llm.prepare(prefixes)
    assert [prefix.ids for prefix in together] == [tuple(ids or llm.prepare([[]])[0].ids) for ids in prefixes]
    pairs = [(prefix, ids) for ids in CONTINUATIONS for prefix in (*together, *llm.prepare(prefixes[:2]))]
    scores = iter(llm.log_likelihood(pairs))
    for ids in CONTINUATIONS:
        for prefix in (*prefixes, *prefixes[:2]):
            assert close(next(scores), score(llm, prefix, [ids])[0])
    assert llm.prepare([]) == []
    assert llm.log_likelihood([]) == []


def test_an_extended_prefix_equals_the_whole(llm):
    prefixes = llm.prepare([PREFIX, PREFIX[:4], []])
    pairs = [(prefix, ids) for prefix in prefixes for ids in CONTINUATIONS]
    before = score(llm, PREFIX, CONTINUATIONS)
    for (prefix, ids), found in zip(pairs, llm.extend(pairs), strict=True):
        whole = llm.prepare([[*prefix.ids, *ids]])[0]
        assert found.ids == whole.ids and close(found.next_logprobs, whole.next_logprobs)
        assert close(llm.log_likelihood([(found, [20, 40])])[0], llm.log_likelihood([(whole, [20, 40])])[0])
    again = llm.log_likelihood([(prefixes[0], ids) for ids in CONTINUATIONS])
    assert all(close(a, b) for a, b in zip(before, again, strict=True))
    with pytest.raises(PromptError, match="65 tokens"):
        llm.extend([(prefixes[0], [20] * 53)])


def test_scoring_leaves_the_prefix_as_it_was(llm):
    prefix = llm.prepare([PREFIX])[0]
    pairs = [(prefix, ids) for ids in CONTINUATIONS]
    first, again = llm.log_likelihood(pairs), llm.log_likelihood(pairs)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(prefix) == len(PREFIX)


def test_next_token_logprobs_are_those_of_each_prefix_and_sum_to_one(llm):
    prefixes = [PREFIX[:3], [], PREFIX, PREFIX[:1]]
    rows = llm.next_token_logprobs(prefixes)
    assert close(rows, torch.stack([llm.prepare([ids])[0].next_logprobs for ids in prefixes]))
    assert close(rows.exp().sum(1), torch.ones(4))
    assert llm.next_token_logprobs([]).shape == (0, rows.shape[1])


def test_what_is_expected_is_averaged_over_all_places(llm):
    ids = [20, 31, 22, 27]
    pairs = [(prefix, row) for prefix in (PREFIX, [20], []) for row in CONTINUATIONS]
    prepared = {tuple(prefix): llm.prepare([prefix])[0] for prefix, _ in pairs}
    together = llm.expected([(prepared[tuple(prefix)], row) for prefix, row in pairs], ids)
    for (prefix, row), found in zip(pairs, together, strict=True):
        start = prepared[tuple(prefix)].ids
        steps = llm.next_token_logprobs([[*start, *row[:n]] for n in range(len(row) + 1)])
        assert close(found, steps[:, ids].softmax(-1).mean(0))
        assert close(found, llm.expected([(prepared[tuple(prefix)], row)], ids)[0])
    assert llm.expected([], ids).shape == (0, 4)
    with pytest.raises(PromptError, match="token id 100000 "):
        llm.expected([(prepared[()], [20])], [100_000])


def test_results_can_be_changed_in_place(llm):
    score(llm, PREFIX, [[20]])[0].add_(1)
    llm.next_token_logprobs([PREFIX]).add_(1)
    llm.prepare([PREFIX])[0].next_logprobs.clone().add_(1)


def test_an_empty_prefix_is_the_start_token(llm):
    start = list(llm.prepare([[]])[0].ids)
    assert len(start) == 1
    assert llm.bos_id is None or start == [llm.bos_id]
    assert torch.equal(score(llm, [], [[20, 21]])[0], score(llm, start, [[20, 21]])[0])


def test_the_context_may_be_full_but_not_more(llm):
    prefix = [20] * (llm.max_context - 2)
    assert score(llm, prefix, [[21, 22]])[0].shape == (2,)
    with pytest.raises(PromptError, match=r"65 tokens \(62 prefix, 3 continuation\).*64 tokens; shorten it by 1"):
        score(llm, prefix, [[21], [21, 22, 23]])
    with pytest.raises(PromptError, match="65 tokens"):
        llm.prepare([[20] * 65])
    with pytest.raises(PromptError, match="65 tokens"):
        llm.next_token_logprobs([[20] * 65])


@pytest.mark.parametrize("wrong", [-1, 100_000])
def test_an_id_outside_the_vocabulary_is_named(llm, wrong):
    with pytest.raises(PromptError, match=f"token id {wrong} "):
        score(llm, [20], [[wrong]])
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
