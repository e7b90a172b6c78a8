import threading

import pytest
import torch

from llmcodec import Enhancer, FewShotClassifier, FewShotGenerator, load_audio
from llmcodec.audio import AudioInfo
from llmcodec.codec import AudioCodes
from llmcodec.errors import AudioError, ConfigError, ModelError, PromptError
from llmcodec.generation import thinking
from llmcodec.webapp import Busy, Cancelled, Service, TimedOut, TooLong
from llmcodec.webapp import service as module


def test_encode_and_decode_are_the_codecs(service, clip, tiny_codec):
    codes = service.encode(clip(3, 1.7))
    expected = tiny_codec.encode(load_audio(clip(3, 1.7)))
    assert all(torch.equal(one, other) for one, other in zip(codes.layers, expected.layers, strict=True))
    torch.testing.assert_close(service.decode(codes), tiny_codec.decode(expected)[0])


@pytest.mark.parametrize("scorer", ["knn", "channel"])
def test_classify_is_the_classifiers(service, labelled, clip, tiny_codec, scorer):
    queries = [clip(2), clip(7)]
    classifier = FewShotClassifier(tiny_codec, service.llm, "sound", scorer)
    classifier.fit([path for paths in labelled.values() for path in paths], ["low", "low", "high", "high"])
    expected = classifier.predict_proba(queries)
    for _ in range(2):  # the second time from what was kept
        found = service.classify(labelled, queries, scorer=scorer)
        for one, row in zip(found, expected, strict=True):
            assert one.probabilities == pytest.approx(dict(zip(classifier.classes_, row, strict=True)))
            assert list(one.probabilities) == sorted(one.probabilities, key=one.probabilities.get, reverse=True)
            assert one.label == next(iter(one.probabilities))
            assert {reason.label for reason in one.reasons} <= set(labelled)
            assert bool(one.reasons) == (scorer == "knn")


def test_the_same_demonstrations_are_read_once(service, labelled, clip, monkeypatch):
    read = []
    codes = service._codes
    monkeypatch.setattr(service, "_codes", lambda path: read.append(path) or codes(path))
    service.classify(labelled, [clip(2)], explain=False)
    service.classify(labelled, [clip(3)], explain=False)
    assert read.count(labelled["low"][0]) == 1 and read.count(clip(3)) == 1
    swapped = {"low": labelled["high"], "high": labelled["low"]}
    service.classify(swapped, [clip(3)], explain=False)
    assert read.count(labelled["low"][0]) == 2


def test_speak_is_the_generators_and_streams_the_same(service, spoken, tiny_codec):
    texts, paths = zip(*spoken, strict=True)
    expected = FewShotGenerator(tiny_codec, service.llm).fit(texts, paths).generate("high low", 1.1)
    found = service.speak("high low", spoken, seconds=1.1)
    torch.testing.assert_close(found.wave, expected.wave)
    assert found.said == ("high", "low")
    streamed = torch.cat(list(service.speak_stream("high low", spoken, seconds=1.1)))
    torch.testing.assert_close(streamed, expected.wave, atol=1e-4, rtol=0)  # phases sum up what floats leave


def test_candidates_and_thought_are_the_generators(service, spoken, monkeypatch):
    monkeypatch.setattr(thinking, "DOUBT", 0.0)
    found = service.speak("Which is it?", spoken, think=True, candidates=3, seed=2, rerank="round-trip")
    assert len(found.scores) == 3 and found.answer.text in ("low", "high")
    again = service.speak("Which is it?", spoken, think=True, candidates=3, seed=2, rerank="round-trip")
    assert torch.equal(found.wave, again.wave)


def test_enhance_is_the_enhancers(service, clip, tiny_codec):
    pairs = [(clip(1), clip(1)), (clip(2), clip(2))]
    expected = Enhancer(tiny_codec).fit(*zip(*pairs, strict=True)).enhance(clip(3))
    torch.testing.assert_close(service.enhance(clip(3), pairs), expected)


def test_audio_beyond_the_limit_is_refused_by_its_header(service, clip, monkeypatch):
    monkeypatch.setattr(module, "stream_audio", lambda *_: pytest.fail("must not be decoded"))
    with pytest.raises(TooLong, match=r"6-6\.wav: lasts 6\.0 s; at most 5 s are allowed"):
        service.encode(clip(6, 6))


def test_a_header_that_lies_is_found_out_while_reading(service, clip, monkeypatch):
    monkeypatch.setattr(module, "audio_info", lambda path: AudioInfo(path, 1.0, 16_000, 1))
    with pytest.raises(TooLong, match="at most 5 s are allowed"):
        service.encode(clip(6, 6))


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"template": "/etc/sound.yaml"}, ConfigError, "template '/etc/sound.yaml' is not one of"),
        ({"scorer": "best"}, ConfigError, "scorer 'best' is not one of"),
        ({"queries": []}, ConfigError, "no queries"),
        ({"demonstrations": {}}, ConfigError, "two classes or more are needed"),
        ({"demonstrations": "one label"}, ConfigError, "two classes or more are needed"),
        ({"demonstrations": "long label"}, ConfigError, "label: has 1001 characters; at most 1000 are allowed"),
        ({"demonstrations": "no label"}, ConfigError, "label: ' ' is empty"),
        ({"queries": "many"}, ConfigError, "9 clips are too many; at most 8 are allowed"),
    ],
)
def test_what_cannot_be_classified(service, labelled, clip, change, error, reason):
    named = {
        "one label": {"low": labelled["low"]},
        "long label": {"l" * 1001: labelled["low"], "high": labelled["high"]},
        "no label": {" ": labelled["low"], "high": labelled["high"]},
        "many": [clip(2)] * 5,
    }
    wanted = {"demonstrations": labelled, "queries": [clip(2)]}
    wanted |= {key: named.get(value, value) if isinstance(value, str) else value for key, value in change.items()}
    with pytest.raises(error, match=reason):
        service.classify(**wanted)


@pytest.mark.parametrize(
    ("text", "options", "error", "reason"),
    [
        ("hum", {}, PromptError, "'hum' was not demonstrated"),
        ("", {}, PromptError, "is empty"),
        ("low " * 300, {}, ConfigError, "text: has 1200 characters"),
        ("low low high high low", {}, TooLong, r"2\.5 s would be said; at most 2 s are allowed"),
        ("low", {"seconds": 2.5}, TooLong, r"2\.5 s would be said"),
        ("low", {"seconds": float("inf")}, TooLong, "inf s would be said"),
        ("low", {"seconds": float("nan")}, ConfigError, "seconds: nan must be above 0"),
        ("low", {"candidates": 17}, ConfigError, "candidates: 17 are too many; at most 16 are allowed"),
        ("low", {"candidates": 0}, ConfigError, "candidates: 0 must be 1 or more"),
        ("low", {"rerank": "best"}, ConfigError, "rerank: 'best' is not one of"),
        ("hum?", {"think": True}, PromptError, "none of the demonstrated texts"),
        (" ", {"think": True}, PromptError, "the question ' ' is empty"),
        ("low", {"demonstrations": []}, ConfigError, "no demonstrations"),
    ],
)
def test_what_cannot_be_spoken(service, spoken, text, options, error, reason):
    with pytest.raises(error, match=reason):
        service.speak(text, **{"demonstrations": spoken, **options})


def test_an_answer_may_be_too_long_to_be_said(service, clip):
    with pytest.raises(TooLong, match=r"3\.0 s would be said"):
        service.speak("Which?", [("one", clip(1)), ("two", clip(2, 3))], think=True)


def test_what_cannot_be_enhanced(service, clip):
    with pytest.raises(ConfigError, match="no demonstrations"):
        service.enhance(clip(1), [])
    with pytest.raises(ConfigError, match="both must be of one recording"):
        service.enhance(clip(1), [(clip(1), clip(1, 1))])
    with pytest.raises(ConfigError, match="9 clips are too many"):
        service.enhance(clip(1), [(clip(1), clip(1))] * 4)


def test_codes_are_of_one_clip_of_this_codec_within_the_limit(service, tiny_codec, sound):
    codes = tiny_codec.encode([sound(8000), sound(8000, 1)])
    with pytest.raises(AudioError, match="the codes of one clip are needed, not of 2"):
        service.decode(codes)
    with pytest.raises(ModelError, match="2 layers"):
        service.decode(AudioCodes(codes.layers[:2], codes.samples))
    with pytest.raises(TooLong, match=r"lasts 6\.0 s"):
        service.decode(tiny_codec.encode(sound(96_000)))


def test_bad_clips_are_named(service, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"bad\.wav: no audio file"):
        service.encode(tmp_path / "bad.wav")


def in_thread(call):
    """Begin a call; the function that is returned waits for what it returned or raised."""
    found = []

    def work():
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def result():
        thread.join()
        return found[0]

    return result


def test_a_cancelled_call_stops_at_the_next_pass_of_a_network(service, gate, clip):
    job = service.job()
    result = in_thread(lambda: service.encode(clip(1), job))
    assert gate.reached.wait(60)
    job.cancel()
    gate.open()
    assert isinstance(result(), Cancelled) and service.pool.load == 0
    assert len(service.encode(clip(1))) == 1


def test_one_call_too_many_is_refused_and_the_others_end(service, gate, clip):
    first = in_thread(lambda: service.encode(clip(1)))
    assert gate.reached.wait(60)
    waiting = service.job()
    waiting_future = service.pool.submit(waiting, lambda: 5)
    with pytest.raises(Busy):
        service.encode(clip(1))
    with pytest.raises(Busy):
        next(service.speak_stream("low", [("low", clip(1))]))
    gate.open()
    assert len(first()) == 1 and service.pool.result(waiting, waiting_future) == 5


def test_leaving_a_stream_cancels_it(service, spoken, tiny_codec):
    job = service.job()
    pieces = service.speak_stream("low", spoken, seconds=2, job=job)
    next(pieces)
    pieces.close()
    with pytest.raises(Cancelled):
        job.check()


def test_a_stream_that_is_cancelled_or_late_in_the_queue_ends(service, gate, clip, spoken):
    first = in_thread(lambda: service.encode(clip(1)))
    assert gate.reached.wait(60)
    job = service.job()
    stream = in_thread(lambda: list(service.speak_stream("low", spoken, job=job)))
    while service.pool.load < 2:
        pass
    job.cancel()
    assert isinstance(stream(), Cancelled)
    late = service.job()
    late._ends = 0.0
    assert isinstance(in_thread(lambda: list(service.speak_stream("low", spoken, job=late)))(), TimedOut)
    gate.open()
    first()


def test_errors_of_a_stream_are_raised(service, spoken):
    with pytest.raises(PromptError, match="was not demonstrated"):
        list(service.speak_stream("hum", spoken))


def test_closing_leaves_no_hooks(new_codec):
    codec = new_codec(1)
    with Service(codec, object()):
        assert codec.encoder._forward_pre_hooks
    assert not codec.encoder._forward_pre_hooks and not codec.decoder._forward_pre_hooks
