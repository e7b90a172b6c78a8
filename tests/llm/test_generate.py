"""What generation promises, on tiny transformers and the fake."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcodec.errors import ConfigError, PromptError
from llmcodec.llm import GREEDY, FakeLLM, Sampling, Schedule, ScheduleProcessor, fake

PREFIX = [20, 21, 22, 20, 21, 23, 24, 20, 21, 25, 26, 27]
SCHEDULE = Schedule((tuple(range(20, 30)), tuple(range(25, 40)), (50, 51)), (0, 0, 1, 1, 1, 2, 0, 2))
SHORT = Schedule(SCHEDULE.tables, (2, 1, 0))
KINDS = [
    GREEDY,
    Sampling(temperature=1.3, candidates=3, seed=5),
    Sampling(temperature=0.8, top_p=0.7, candidates=2, repetition_penalty=1.4),
    Sampling(beams=3, candidates=2),
]


def follows(ids, schedule):
    return len(ids) == len(schedule) and all(
        token in schedule.tables[step] for token, step in zip(ids, schedule.steps, strict=True)
    )


@pytest.mark.parametrize("sampling", KINDS)
def test_what_comes_follows_the_schedule_with_the_models_own_likelihood(llm, sampling):
    prefix = llm.prepare([PREFIX])[0]
    (found,) = llm.generate([(prefix, SCHEDULE)], sampling)
    assert len(found) == sampling.candidates
    for one in found:
        assert follows(one.ids, SCHEDULE)
        assert torch.allclose(one.logprobs, llm.log_likelihood([(prefix, one.ids)])[0], atol=1e-4)
    again = llm.generate([(prefix, SCHEDULE)], sampling)[0]
    assert [one.ids for one in found] == [one.ids for one in again]


RUN = ((20, 30, 21), (20, 31, 22), (22, 30, 23))


@pytest.mark.parametrize("sampling", KINDS)
def test_a_run_comes_as_a_whole(llm, sampling):
    steps = Schedule(((24, 25), (20, 22), (30, 31), (21, 22, 23), (50, 51)), (0, 1, 2, 3, 4, 1, 2, 3), {1: RUN, 5: RUN})
    prefix = llm.prepare([PREFIX])[0]
    for one in llm.generate([(prefix, steps)], sampling)[0]:
        assert follows(one.ids, steps) and one.ids[1:4] in RUN and one.ids[5:] in RUN
    assert {llm.generate([(prefix, steps)], Sampling(temperature=5.0, seed=n))[0][0].ids[1:4] for n in range(60)} == {
        *RUN
    }


def test_what_a_run_allows_depends_on_how_it_began():
    schedule = Schedule(((24, 25), (20, 22), (30, 31), (21, 22, 23)), (0, 1, 2, 3, 0), {1: RUN})
    past = {(): (24, 25), (24,): (20, 22), (24, 20): (30, 31), (24, 20, 31): (22,), (24, 22): (30,)}
    assert {begun: schedule.allowed(begun) for begun in past} == past
    assert schedule.allowed((24, 20, 30, 21)) == (24, 25)


LED = Schedule(((24, 25), (20, 22), (30, 31), (21, 22, 23), (50,)), (4, 0, 1, 2, 3, 4, 4, 1, 2, 3, 4), {2: RUN, 7: RUN})


@pytest.mark.parametrize("sampling", KINDS)
def test_steps_without_a_choice_are_as_likely_as_others_and_change_nothing_in_a_batch(llm, sampling):
    prefixes = llm.prepare([PREFIX, PREFIX[3:8], []])
    requests = [(prefix, schedule) for prefix in prefixes for schedule in (LED, SHORT, Schedule(((50,),), (0, 0)))]
    for (prefix, schedule), found in zip(requests, llm.generate(requests, sampling), strict=True):
        alone = llm.generate([(llm.prepare([prefix.ids])[0], schedule)], sampling)[0]
        assert [one.ids for one in found] == [one.ids for one in alone]
        for one in found:
            assert follows(one.ids, schedule)
            assert torch.allclose(one.logprobs, llm.log_likelihood([(prefix, one.ids)])[0], atol=1e-4)
    ids, logprobs = zip(*llm.stream(prefixes[0], LED), strict=True)
    (whole,) = llm.generate([(prefixes[0], LED)])[0]
    assert ids == whole.ids and torch.allclose(torch.tensor(logprobs), whole.logprobs, atol=1e-5)


def test_steps_without_a_choice_are_read_together(monkeypatch):
    llm, read = FakeLLM(), []
    advance = fake._Rows.advance
    monkeypatch.setattr(
        fake._Rows, "advance", lambda rows, *given: read.append(given[1].shape[1]) or advance(rows, *given)
    )
    prefix = llm.prepare([PREFIX])[0]
    llm.generate([(prefix, Schedule(((20, 21), (30,)), (0, 1, 1, 1, 0, 1)))])
    assert read == [4, 1]  # behind the last token nothing is asked
    llm.generate([(prefix, Schedule(((20, 21), (30,)), (0, 1, 1, 1, 0, 1)))], Sampling(beams=2))
    assert read[2:] == [1] * 5


@pytest.mark.parametrize("sampling", KINDS)
def test_a_batch_equals_singles(llm, sampling):
    prefixes = llm.prepare([PREFIX, PREFIX[3:8], []])
    requests = [(prefix, schedule) for prefix in prefixes for schedule in (SCHEDULE, SHORT)]
    together = llm.generate(requests, sampling)
    for (prefix, schedule), found in zip(requests, together, strict=True):
        alone = llm.generate([(llm.prepare([prefix.ids])[0], schedule)], sampling)[0]
        assert [one.ids for one in found] == [one.ids for one in alone]
        assert all(follows(one.ids, schedule) for one in found)
    assert llm.generate([], sampling) == []


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=1.0, seed=3)])
def test_a_stream_equals_the_whole(llm, sampling):
    prefix = llm.prepare([PREFIX])[0]
    whole = llm.generate([(prefix, SCHEDULE)], sampling)[0][0]
    ids, logprobs = zip(*llm.stream(prefix, SCHEDULE, sampling), strict=True)
    assert ids == whole.ids
    assert torch.allclose(torch.tensor(logprobs), whole.logprobs)


def test_greedy_takes_the_likeliest_allowed(llm):
    prefix = llm.prepare([PREFIX])[0]
    found = llm.generate([(prefix, SCHEDULE)])[0][0]
    for n, step in enumerate(SCHEDULE.steps):
        allowed = torch.tensor(SCHEDULE.tables[step])
        row = llm.next_token_logprobs([[*PREFIX, *found.ids[:n]]])[0, allowed]
        assert row[SCHEDULE.tables[step].index(found.ids[n])] >= row.max() - 1e-4


def test_enough_beams_find_the_likeliest_of_all(llm):
    prefix, schedule = llm.prepare([PREFIX])[0], Schedule(((20, 21), (30, 31, 32)), (0, 1, 0))
    every = [(a, b, c) for a in (20, 21) for b in (30, 31, 32) for c in (20, 21)]
    scores = []
    for ids in every:
        states = llm.next_token_logprobs([[*PREFIX, *ids[:n]] for n in range(3)])
        tables = [torch.tensor(schedule.tables[step]) for step in schedule.steps]
        rows = [row[table].log_softmax(0) for row, table in zip(states, tables, strict=True)]
        scores.append(sum(float(row[table.tolist().index(i)]) for row, table, i in zip(rows, tables, ids, strict=True)))
    found = llm.generate([(prefix, schedule)], Sampling(beams=12, candidates=12))[0]
    best = [scores[every.index(one.ids)] for one in found]
    assert len({one.ids for one in found}) == 12 and best[0] >= max(scores) - 1e-4
    assert all(a >= b - 1e-4 for a, b in zip(best, best[1:], strict=False))
    (few,) = llm.generate([(prefix, Schedule(((20, 21),), (0,)))], Sampling(beams=5, candidates=5))
    assert {one.ids for one in few} == {(20,), (21,)}


def test_samples_have_the_models_frequencies(llm):
    prefix, schedule = llm.prepare([PREFIX])[0], Schedule(((20, 21, 22, 23),), (0,))
    wanted = prefix.next_logprobs[20:24].softmax(0)
    found = llm.generate([(prefix, schedule)], Sampling(temperature=1.0, candidates=1500))[0]
    counts = torch.tensor([one.ids[0] - 20 for one in found]).bincount(minlength=4)
    assert (counts / 1500 - wanted).abs().max() < 0.05


def test_repetition_is_controlled():
    llm = FakeLLM([f"word{n}" for n in range(40)])
    table = tuple(range(257, 297))
    prefix, schedule = llm.prepare([[257, 258] * 5])[0], Schedule((table,), (0,) * 12)
    plain = llm.generate([(prefix, schedule)])[0][0].ids
    penalised = llm.generate([(prefix, schedule)], Sampling(repetition_penalty=50.0))[0][0].ids
    assert len(set(penalised)) > len(set(plain))


def test_generation_leaves_the_prefix_as_it_was(llm):
    prefix = llm.prepare([PREFIX])[0]
    before = llm.log_likelihood([(prefix, [20, 21, 22])])[0]
    llm.generate([(prefix, SCHEDULE)], Sampling(beams=2))
    next(llm.stream(prefix, SCHEDULE))
    assert torch.equal(before, llm.log_likelihood([(prefix, [20, 21, 22])])[0])


def test_the_processor_serves_generate_of_transformers(transformers_llm):
    prompt = torch.tensor([PREFIX])
    kept = ScheduleProcessor([SCHEDULE], start=len(PREFIX))
    ids = transformers_llm.model.generate(
        prompt, attention_mask=torch.ones_like(prompt), logits_processor=[kept], max_new_tokens=len(SCHEDULE),
        do_sample=False, pad_token_id=0,
    )[0, len(PREFIX) :]  # fmt: skip
    ours = transformers_llm.generate([(transformers_llm.prepare([PREFIX])[0], SCHEDULE)])[0][0]
    assert tuple(ids.tolist()) == ours.ids


def test_small_batches_change_nothing(tiny):
    small, large = tiny("llama", batch_tokens=20), tiny("llama")
    for sampling in KINDS:
        rows = [llm.generate([(llm.prepare([PREFIX])[0], SCHEDULE)] * 3, sampling) for llm in (small, large)]
        assert [[one.ids for one in found] for found in rows[0]] == [[one.ids for one in found] for found in rows[1]]


@settings(max_examples=200)
@given(
    steps=st.lists(st.integers(0, 2), min_size=1, max_size=12),
    prompt=st.lists(st.integers(0, 300), max_size=10),
    seed=st.integers(0, 10**9),
    temperature=st.just(0) | st.floats(0.01, 3),
    top_p=st.floats(0.01, 1),
)
def test_whatever_the_seed_it_follows_the_schedule(steps, prompt, seed, temperature, top_p):
    llm = FakeLLM([f"word{n}" for n in range(60)])
    schedule = Schedule(((257, 258), tuple(range(260, 300)), (301,)), tuple(steps))
    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
    assert follows(llm.generate([(llm.prepare([prompt])[0], schedule)], sampling)[0][0].ids, schedule)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"temperature": -1}, "temperature: -1 must be 0, or 0.01 or more"),
        ({"top_p": 0}, "top_p: 0 must be above 0"),
        ({"beams": 0}, "beams: 0 must be 1 or more"),
        ({"beams": 2, "temperature": 1}, "must be 0 with 2 beams"),
        ({"beams": 2, "candidates": 3}, "at most the 2 beams"),
        ({"candidates": 2}, "need a temperature above 0"),
        ({"repetition_penalty": 0}, "repetition_penalty: 0 must be above 0"),
    ],
)
def test_settings_out_of_range_are_named(fields, text):
    with pytest.raises(ConfigError, match=text):
        Sampling(**fields)


def test_what_cannot_be_generated_is_refused(llm):
    prefix = llm.prepare([PREFIX])[0]
    with pytest.raises(PromptError, match=r"65 tokens \(12 prefix, 53 continuation\)"):
        llm.generate([(prefix, Schedule(((20,),), (0,) * 53))])
    with pytest.raises(PromptError, match="without steps"):
        llm.generate([(prefix, Schedule(((20,),), ()))])
    with pytest.raises(PromptError, match="allows no id"):
        llm.generate([(prefix, Schedule(((),), (0,)))])
    with pytest.raises(PromptError, match="token id 100000 "):
        llm.generate([(prefix, Schedule(((100_000,),), (0,)))])
    with pytest.raises(ConfigError, match="both must be 1"):
        next(llm.stream(prefix, SCHEDULE, Sampling(beams=2)))
