"""What stands behind the tabs of the page, with a tiny codec and the fake language model."""

import asyncio
import base64
import html
import re
import tempfile
from pathlib import Path

import pytest
import soundfile
import torch

from llmcodec.audio import load_audio
from llmcodec.errors import ConfigError
from llmcodec.webapp import pictures

gr, page, parts = map(pytest.importorskip, ("gradio", "llmcodec.webapp.page", "llmcodec.webapp.parts"))
classify_tab, codec_tab, enhance_tab = page.classify_tab, page.codec_tab, page.enhance_tab
speak_tab, words_tab = page.speak_tab, page.words_tab

ODD = "<script>alert(1)</script>"


@pytest.fixture
def opened(service, clip):
    return words_tab.open_clip(service, clip(3, 1.3))


@pytest.fixture(scope="session")
def examples(tmp_path_factory):
    return parts.Examples(tmp_path_factory.mktemp("examples"))


def test_the_page_has_its_tabs_and_fetches_nothing(service):
    config = page.build_page(service).get_config_file()
    labels = [part["props"].get("label") for part in config["components"] if part["type"] == "tabitem"]
    assert labels == ["Classify", "Words", "Speak", "Enhance", "Codec"]
    fields = [
        part for part in config["components"] if part["type"] in ("textbox", "audio", "file", "dropdown", "number")
    ]
    assert len(fields) > 40 and all(part["props"]["label"] for part in fields)
    assert not config["analytics_enabled"]


def test_no_file_is_fetched_from_an_address(service, clip):
    taken = [block for block in page.build_page(service).blocks.values() if block.get_block_name() in ("audio", "file")]
    assert len(taken) > 20
    for block in taken:
        with pytest.raises(gr.Error, match="only files that were uploaded"):
            asyncio.run(block.async_move_resource_to_block_cache("https://example.com/clip.wav"))
    assert asyncio.run(taken[0].async_move_resource_to_block_cache(clip(0))).endswith(".wav")


def test_errors_become_sentences(caplog):
    def user():
        raise ConfigError(f"{tempfile.gettempdir()}/llmcodec-page-a_1/cache/0a1b/<b>.wav: lasts too long")

    def stream():
        yield 1
        raise KeyError("secret")

    with pytest.raises(gr.Error) as raised:
        parts.answering(user)()
    assert raised.value.message == "&lt;b&gt;.wav: lasts too long"
    answers = parts.answering(stream)()
    assert next(answers) == 1
    with pytest.raises(gr.Error) as raised:
        next(answers)
    assert raised.value.message == html.escape(parts.UNEXPECTED) and "secret" in caplog.text


def test_rows_are_read_as_they_are_filled():
    with gr.Blocks():
        rows = parts.ClipRows("Label", "Clips")
    count, *values = rows.filled({"a b": ["1.wav", "2.wav"], "c": ["3.wav"], "d": ["4.wav"]})
    assert count == 3 and [row.visible for row in values[: parts.ROWS]] == [True] * 3 + [False] * 5
    fields = values[parts.ROWS :]
    assert rows.read(fields) == {"a b": [Path("1.wav"), Path("2.wav")], "c": [Path("3.wav")], "d": [Path("4.wav")]}
    fields[0] = " c "
    assert rows.read(fields)["c"] == [Path("1.wav"), Path("2.wav"), Path("3.wav")]
    for place, wrong, message in ((0, "", "Label 1 has clips but no name"), (9, None, "Label 2, 'c', has no clips")):
        with pytest.raises(ConfigError, match=message):
            rows.read([*fields[:place], wrong, *fields[place + 1 :]])


def test_examples_are_the_packaged_clips_and_noisy_ones(examples):
    assert list(examples.labelled) == ["bass", "beat", "cymbal", "tabla"] and len(examples.queries) == 8
    for clean, noisy in zip(examples.clean, examples.noisy, strict=True):
        assert Path(clean).stem == Path(noisy).stem and len(load_audio(clean)) == len(load_audio(noisy))
    assert parts.Examples(examples.folder).noisy == examples.noisy  # a second page may share them
    assert all(speak_tab.short(examples).values())


def test_classify_shows_every_query_and_escapes_labels(service, labelled, clip):
    shown = {ODD: labelled["low"], "high": labelled["high"]}
    drawn = classify_tab.classify(service, shown, [clip(0), clip(9)], "sound", "knn")
    assert "<script" not in drawn and "&lt;script&gt;" in drawn
    assert drawn.count("<article") == 2 and drawn.count("data:audio/mpeg;base64,") == 4
    chances = [float(value) for value in re.findall(r'<meter min="0" max="1" value="([\d.]+)"', drawn)]
    assert sum(chances[:2]) == pytest.approx(1, abs=1e-3) and sum(chances[2:]) == pytest.approx(1, abs=1e-3)
    assert "Words that decided" in drawn
    assert "Words that decided" not in classify_tab.classify(service, shown, [clip(0)], "sound", "direct")


def test_words_in_time_are_those_of_the_codec(service, opened):
    codec = service.codec
    drawn = pictures.words_in_time(codec, opened.wave, opened.made, range(0, 44), {(0, 2)})
    buttons = re.findall(r'data-layer="(\d)" data-place="(\d+)".*?>([^<]+)</button>', drawn)
    found = {name: [word for layer, _, word in buttons if int(layer) == n] for n, name in enumerate(codec.layer_names)}
    assert found == codec.words(opened.made)
    assert drawn.count(" edited") == 1
    later = pictures.words_in_time(codec, opened.wave, opened.made, range(20, 44), set())
    assert re.findall(r'data-layer="0" data-place="(\d+)"', later) == ["5", "6", "7", "8", "9", "10"]


def test_a_window_of_a_long_clip(service, clip):
    codec, opened = service.codec, words_tab.open_clip(service, clip(1, 4.99))
    assert words_tab.window(codec, opened, 0) == range(0, 167)
    long = words_tab.replace(opened, wave=torch.zeros(30 * 16_000))
    assert words_tab.window(codec, long, 0) == range(0, 320)
    assert words_tab.window(codec, long, 10.1) == range(336, 656)
    assert words_tab.window(codec, long, 29.9) == range(680, 1000)


def test_a_chosen_word_is_heard_and_found(service, opened):
    codec = service.codec
    chosen = words_tab.choose(opened, 1, 3)
    start, end = 3 * 960 - 2400, 4 * 960 + 2400
    assert torch.equal(words_tab.around(codec, chosen), opened.decoded[start:end])
    row = codec.words(opened.made)["coarse"]
    note = pictures.note(codec, opened.made, (1, 3))
    assert row[3] in note and f"{row.count(row[3])} time" in note and "0.18" in note
    near = words_tab.nearest(codec, chosen)
    assert len(near) == 40 and row[3] not in near and set(near) < set(codec.vocabularies[1].words)


@pytest.mark.parametrize("place", [(3, 0), (0, 99), (-1, 0), (0, -1), (None, 0), (0, "0")])
def test_a_word_that_is_not_there_is_refused(opened, place):
    with pytest.raises(ConfigError, match="the clip has no word"):
        words_tab.choose(opened, *place)


def test_an_edit_changes_the_sound_and_can_be_taken_back(service, opened):
    chosen = words_tab.choose(opened, 2, 7)
    code, (word, *_) = chosen.code, reversed(words_tab.nearest(service.codec, chosen))
    one = words_tab.replaced(service, chosen, word, everywhere=False)
    assert one.edited == {(2, 7)} and service.codec.words(one.made)["fine"][7] == word
    assert len(one.decoded) == len(opened.wave) and not torch.equal(one.decoded, opened.decoded)
    all_of_them = words_tab.replaced(service, chosen, word, everywhere=True)
    places = (opened.codes.layers[2][0] == code).nonzero().flatten().tolist()
    assert all_of_them.edited == {(2, place) for place in places}
    assert torch.equal(opened.codes.layers[2], words_tab.choose(opened, 0, 0).codes.layers[2])
    for clip, wrong, message in ((opened, word, "no word is chosen"), (chosen, ODD, "no word of the layer fine"),
                                 (chosen, "", "take one of the list")):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            words_tab.replaced(service, clip, wrong, everywhere=True)


def test_speech_comes_in_pieces_then_whole(service, spoken):
    settings = {"seconds": 1.0, "template": "sound"}
    *steps, (_, (rate, whole), facts, words) = speak_tab.streamed(service, "low", spoken, **settings)
    assert steps and rate == 16_000 and len(whole) == 16_000 and "1.00 s" in facts
    runs = {step[0]["run"] for step in steps}
    assert len(runs) == 1 and steps[-1][1] is None
    assert base64.b64decode(steps[-1][0]["samples"]) == whole.tobytes()
    assert words.count("<span") == 9 + 17 + 34
    [_, (_, made), facts, _] = speak_tab.chosen(
        service, "low", spoken, **settings, candidates=2, seed=1, rerank="mean", think=False
    )
    assert len(made) == 16_000 and "mean, the best of 2" in facts


def test_enhance_pairs_by_name(service, clip, tmp_path):
    names = [str(tmp_path / kind / f"{n}.wav") for kind in ("noisy", "clean") for n in (2, 1)]
    assert enhance_tab.pairs(names[:2], names[2:]) == [
        (tmp_path / "noisy/1.wav", tmp_path / "clean/1.wav"), (tmp_path / "noisy/2.wav", tmp_path / "clean/2.wav"),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="2 noisy and 0 clean"):
        enhance_tab.pairs(names[:2], None)
    given = str(clip(0))
    (rate, before), picture, (_, after), _ = enhance_tab.enhance(service, given, [given], [given])
    assert len(before) == len(after) == rate // 2 and picture.startswith("<figure")
    with pytest.raises(ConfigError, match="the noisy clip is missing"):
        enhance_tab.enhance(service, None, [given], [given])


def test_codec_figures(service, clip, monkeypatch):
    codec = service.codec
    (rate, wave), picture, (_, made), _, facts = codec_tab.compare(service, str(clip(2, 1.0)))
    assert len(wave) == len(made) == rate and "data:image/png;base64," in picture
    assert f"{codec.bits_per_second:.0f} bit/s" in facts and "60" in facts  # 9 + 17 + 34 words
    monkeypatch.setattr(codec_tab, "stoi", _missing)
    assert "llmcodec[eval]" in codec_tab.compare(service, str(clip(2)))[-1]


def _missing(*_):
    raise codec_tab.ModelError("STOI needs pystoi: pip install 'llmcodec[eval]'")


@pytest.mark.parametrize("samples", [1, 100, 16_000])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_odd_sounds_can_be_drawn(sound, samples, level):
    drawn = pictures.sound(level * sound(samples), 16_000, ODD)
    assert "<script" not in drawn and "nan" not in drawn.lower().split("base64,")[0]


def test_odd_clips_pass_the_whole_way(service, tmp_path):
    soundfile.write(tmp_path / "one.wav", [0.5], 16_000)
    opened = words_tab.choose(words_tab.open_clip(service, tmp_path / "one.wav"), 0, 0)
    assert words_tab.window(service.codec, opened, 0) == range(0, 1)
    assert len(words_tab.around(service.codec, opened)) == 1
    assert "not measured" in codec_tab.compare(service, str(tmp_path / "one.wav"))[-1]
