"""What FewShotGenerator promises, with a tiny random codec and a fake model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcodec.errors import AudioError, ConfigError, PromptError
from llmcodec.generation import RERANKERS, FewShotGenerator
from llmcodec.generation import generator as generator_module
from llmcodec.llm import FakeLLM, Sampling
from llmcodec.prompting import generation_template_names, load_generation_template

WARM = Sampling(temperature=1.0, candidates=3, seed=4)


@settings(max_examples=1000)
@given(
    text=st.sampled_from(["one", "two", "ONE, two!", "thirty three one"]),
    samples=st.none() | st.integers(1, 12_000),
    seed=st.integers(0, 2**31),
    temperature=st.just(0) | st.floats(0.05, 5),
    top_p=st.floats(0.05, 1),
)
def test_every_generation_decodes_to_the_promised_duration(generator, text, samples, seed, temperature, top_p):
    generator.sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
    texts = generator.said(text)
    if samples is not None and samples <= 1920 * len(texts):
        samples = 1920 * len(texts) + samples
    try:
        found = generator.generate(text, samples and samples / 16_000)
    finally:
        generator.sampling = Sampling()
    generator.codec.check(found.codes)
    assert len(found.wave) == int(found.codes.samples) and found.wave.isfinite().all()
    assert samples is None or len(found.wave) == samples


def test_the_duration_is_that_of_the_same_text(generator):
    assert len(generator.generate("one").wave) == 4800  # of 3000, 4800 and 7500
    assert len(generator.generate("Thirty-three").wave) == 5700
    assert len(generator.generate("two one").wave) == 5760 + 4800  # 3900, to whole units


def test_demonstrations_are_taken_in_at_the_level_of_the_template_whatever_their_own(tiny_codec, fake_llm, spoken):
    texts, clips = spoken
    plain = load_generation_template("speak").model_copy(update={"active_level": None})
    loud, soft, as_they_are = (
        FewShotGenerator(tiny_codec, fake_llm, template).fit(texts, [gain * clip for clip in clips]).demonstrations
        for template, gain in (("speak", 1.0), ("speak", 0.125), (plain, 0.125))
    )
    for one, other, own, clip in zip(loud, soft, as_they_are, clips, strict=True):
        assert all(map(torch.equal, one.codes.layers, other.codes.layers))
        assert all(map(torch.equal, own.codes.layers, tiny_codec.encode(0.125 * clip).layers))
    codes = [tiny_codec.encode(clip) for clip in clips]
    kept = FewShotGenerator(tiny_codec, fake_llm).fit(texts, codes).demonstrations
    assert all(one.codes is own for one, own in zip(kept, codes, strict=True))


def units(codes):
    """The words of all layers in each unit of time; one that is cut off goes on with its last words."""
    rows = [row[0].tolist() for row in codes.layers]
    return [
        tuple(
            row[min(n * size + place, len(row) - 1)]
            for row, size in zip(rows, (1, 2, 4), strict=True)
            for place in range(size)
        )
        for n in range(len(rows[0]))
    ]


@pytest.mark.parametrize("window", [0, 1, 9])
def test_each_unit_of_time_is_one_of_a_demonstration_of_the_same_text(tiny_codec, fake_llm, spoken, window):
    made = FewShotGenerator(tiny_codec, fake_llm, sampling=Sampling(temperature=3.0), window=window).fit(*spoken)
    shown = [
        units(tiny_codec.encode(made.load(clip)))
        for text, clip in zip(*spoken, strict=True)
        if text.lower().strip(".") == "one"
    ]
    seen = set()
    for seed in range(20):
        made.sampling = Sampling(temperature=3.0, seed=seed)
        for unit in units(made.generate("one").codes)[:-1]:
            holders = [number for number, clip in enumerate(shown) if unit in clip]
            assert holders
            seen.add(holders[0])
    assert len(seen) == len(shown)


@pytest.mark.parametrize("sampling", [Sampling(), WARM, Sampling(beams=2, candidates=2)])
@pytest.mark.parametrize("rerank", [kind for kind in RERANKERS if kind != "quality"])
def test_a_batch_equals_singles_and_the_best_is_kept(tiny_codec, fake_llm, spoken, sampling, rerank):
    made = FewShotGenerator(tiny_codec, fake_llm, sampling=sampling, rerank=rerank).fit(*spoken)
    together = made.generate_batch(["one", "two", "two one"])
    for text, found in zip(["one", "two", "two one"], together, strict=True):
        alone = FewShotGenerator(tiny_codec, fake_llm, sampling=sampling, rerank=rerank).fit(*spoken).generate(text)
        assert torch.equal(found.wave, alone.wave) and found.scores == pytest.approx(alone.scores)
        assert len(found.scores) == sampling.candidates and found.said == tuple(text.split())
        assert text == "two one" or found.score == max(found.scores)


@pytest.mark.parametrize("order", ["layers", "interleaved"])
@pytest.mark.parametrize("text", ["one", "two one thirty three"])
def test_a_stream_equals_the_whole(tiny_codec, fake_llm, spoken, order, text):
    template = load_generation_template("speak").model_copy(update={"order": order})
    made = FewShotGenerator(tiny_codec, fake_llm, template).fit(*spoken)
    pieces = list(made.stream(text, 3.0))
    assert torch.allclose(torch.cat(pieces), made.generate(text, 3.0).wave, atol=1e-5)
    assert len(pieces) > 1


def test_the_first_audio_comes_before_the_last_word(tiny_codec, spoken, monkeypatch):
    llm, read = FakeLLM(), []
    plain = FakeLLM.stream
    monkeypatch.setattr(FakeLLM, "stream", lambda *args: (read.append(1) or step for step in plain(*args)))
    made = FewShotGenerator(tiny_codec, llm).fit(*spoken)
    next(made.stream("one", 3.0))
    assert 0 < len(read) < sum(-(-100 // stride) for stride in tiny_codec.strides)


@pytest.mark.parametrize("kept", [1 << 14, 1])
def test_what_was_read_is_not_read_again(tiny_codec, spoken, monkeypatch, kept):
    llm, read, put = FakeLLM(), [], []
    prepare, extend = FakeLLM.prepare, FakeLLM.extend
    monkeypatch.setattr(generator_module, "KEPT", kept)
    monkeypatch.setattr(FakeLLM, "prepare", lambda self, ids: read.append(sum(map(len, ids))) or prepare(self, ids))
    monkeypatch.setattr(FakeLLM, "extend", lambda self, pairs: put.append(len(pairs)) or extend(self, pairs))
    made = FewShotGenerator(tiny_codec, llm).fit(*spoken)
    first = made.generate("one")
    again = made.generate("one")
    assert torch.equal(first.wave, again.wave)
    assert read[0] > 0 and not any(read[1:]) and put == [1, 0]
    other = made.generate("two")
    assert put[2:] == [1] and len(made._contexts) == (4 if kept > 1 else 1)
    assert torch.equal(made.generate("one").wave, first.wave) and torch.equal(made.generate("two").wave, other.wave)
    assert put[3:] == ([0, 0] if kept > 1 else [1, 1])


def test_the_nearest_demonstrations_stand_last(tiny_codec, spoken, fake_llm):
    made = FewShotGenerator(tiny_codec, fake_llm, shots=2).fit(*spoken)
    (part,) = made._parts("two", ["two"], None)
    assert {str(made.demonstrations[n].given) for n in part.chosen} == {"two"}
    few = FakeLLM(fake_llm.words(), max_context=200)
    made = FewShotGenerator(tiny_codec, few, shots=6).fit(*spoken)
    (part,) = made._parts("thirty three", ["thirty three"], None)
    assert part.chosen[-1] == 3 and len(part.chosen) < 6


@pytest.mark.parametrize("name", ["enhance", "convert", "continue"])
def test_clips_become_clips(tiny_codec, fake_llm, sound, name):
    pairs = [sound(4000 + 500 * n, seed=n) for n in range(4)]
    made = FewShotGenerator(tiny_codec, fake_llm, name, shots=2).fit(pairs, [0.5 * wave for wave in pairs])
    found = made.generate(sound(6000, seed=9))
    assert len(found.wave) == (6000 if name != "continue" else len(found.wave)) and found.said == ()
    assert len(made.generate(sound(6000, seed=9), 0.1).wave) == 1600
    with pytest.raises(ConfigError, match="only a text can be a question"):
        made.generate(sound(6000), think=True)


def test_every_template_of_the_package_loads():
    assert generation_template_names() == ["continue", "convert", "enhance", "sound", "speak"]
    assert all(load_generation_template(name).name == name for name in generation_template_names())


@pytest.mark.parametrize("text", ["", "  ", "?!", None])
def test_an_empty_text_is_refused(generator, text):
    with pytest.raises(PromptError, match="is empty; it needs a word that was demonstrated: One., one, thirty three"):
        generator.generate(text)


def test_a_text_that_was_not_demonstrated_is_refused(generator):
    with pytest.raises(PromptError, match="'two plus three' was not demonstrated.*thirty three.*think first"):
        generator.generate("two plus three")


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_an_impossible_duration_is_refused(generator, seconds):
    with pytest.raises(ConfigError, match="seconds: .* must be above 0"):
        generator.generate("one", seconds)


def test_an_hour_does_not_fit(generator):
    with pytest.raises(PromptError, match=r"210000 words, too many .* 4096 tokens; .* would fit"):
        generator.generate("one", 3600)


def test_demonstrations_that_cannot_be_used_are_refused(tiny_codec, fake_llm, spoken, tmp_path):
    made, (texts, waves) = FewShotGenerator(tiny_codec, fake_llm), spoken
    with pytest.raises(ConfigError, match="call fit first"):
        made.generate("one")
    with pytest.raises(ConfigError, match="no demonstrations"):
        made.fit([], [])
    with pytest.raises(ConfigError, match="6 inputs need as many recordings, not 5"):
        made.fit(texts, waves[:5])
    with pytest.raises(ConfigError, match="demonstration 2: the text '' is empty"):
        made.fit(["one", ""], waves[:2])
    (tmp_path / "bad.wav").write_bytes(b"RIFF no")
    with pytest.raises(AudioError, match="bad.wav"):
        made.fit(["one", "two"], [waves[0], tmp_path / "bad.wav"])


def test_settings_that_cannot_be_are_refused(tiny_codec, fake_llm):
    with pytest.raises(ConfigError, match="rerank: 'best' is not one of likelihood"):
        FewShotGenerator(tiny_codec, fake_llm, rerank="best")
    with pytest.raises(ConfigError, match="shots: 0 must be 1 or more"):
        FewShotGenerator(tiny_codec, fake_llm, shots=0)
    with pytest.raises(ConfigError, match="no such template; use continue"):
        FewShotGenerator(tiny_codec, fake_llm, "sing")
