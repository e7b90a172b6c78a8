"""Whatever a public function is given, it does what it promises or refuses by one line: see `borne`."""

import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import llmcodec
from llmcodec import AudioCodes, FewShotClassifier, FewShotGenerator, Vocabulary, load_audio, load_template, save_audio
from llmcodec.codec import join_codes
from llmcodec.evaluation import draw_episodes, load_episodes, read_labelled, save_episodes
from llmcodec.llm import FakeLLM
from llmcodec.prompting import load_generation_template, template_names
from llmcodec.scale import Tokenization
from llmcodec.temporary import PATTERN
from llmcodec.training.recipe import Recipe

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)
TEXTS = st.text(max_size=40)
NAMES = st.sampled_from(
    ["clip.wav", "a.flac", "b.mp3", "c", ".hidden.wav", "x" * 300 + ".wav", "no/such.wav", "nul\0.wav", "."]
)
NESTED = st.recursive(TEXTS | FLOATS, lambda inner: st.dictionaries(TEXTS, inner, max_size=4))
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
DEMO = Path(llmcodec.__file__).parent / "data" / "demo" / "demonstrations"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("contracts")


def waves(most=3000):
    return st.builds(_wave, st.integers(0, most), st.integers(0, 9))


def _wave(size, seed):
    """A waveform; some seeds spoil it."""
    wave = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    if seed == 7 and size:
        wave[size // 2] = float("nan")
    return {8: wave[None], 9: wave * 1e30}.get(seed, wave)


@settings(SHARED, max_examples=150)
@given(
    source=arrays(
        st.sampled_from([np.float32, np.float64, np.float16, np.int16, np.int32, np.uint8, np.int64, np.bool_]),
        st.lists(st.integers(0, 40), min_size=0, max_size=3).map(tuple),
    ),
    rate=st.integers(-1, 400_000) | st.sampled_from([4000, 16_000, 192_000]),
    source_rate=st.none() | st.integers(0, 400_000) | st.sampled_from([8000, 44_100]),
)
def test_load_audio_of_arrays(borne, source, rate, source_rate):
    wave = borne(load_audio, source, rate, source_rate)
    if wave is not None:
        frames = source.shape[-1]
        assert wave.dtype == torch.float32 and wave.isfinite().all()
        assert len(wave) == 1 or abs(len(wave) - frames * rate / (source_rate or rate)) <= 0.5


@settings(SHARED, max_examples=100)
@given(content=st.binary(max_size=400), name=NAMES)
def test_load_audio_of_files(borne, folder, content, name):
    with suppress(OSError, ValueError):
        (folder / name).write_bytes(content)
    assert borne(load_audio, folder / name) is None


@settings(SHARED, max_examples=100)
@given(wave=waves(), name=NAMES, rate=st.integers(-10, 200_000), overwrite=st.booleans())
def test_save_audio(borne, folder, wave, name, rate, overwrite):
    path = folder / "saved" / name
    path.parent.mkdir(exist_ok=True)
    existed = os.path.isfile(path)
    borne(save_audio, path, wave, rate, overwrite)
    if os.path.isfile(path) and not existed:
        assert len(load_audio(path, rate)) == len(wave)
        path.unlink()
    assert not list((folder / "saved").glob(PATTERN))


@settings(SHARED, max_examples=60)
@given(clips=st.lists(waves(), max_size=4))
def test_encode_and_decode(borne, tiny_codec, clips):
    codes = borne(tiny_codec.encode, clips)
    if codes is not None:
        assert [len(wave) for wave in tiny_codec.decode(codes)] == [len(clip) for clip in clips]


@settings(SHARED, max_examples=40)
@given(chunks=st.lists(waves(4000), max_size=5))
def test_streams(borne, tiny_codec, chunks):
    pieces = borne(lambda: list(tiny_codec.stream_encode(iter(chunks))))
    if pieces is not None:
        codes = join_codes(pieces)
        total = sum(map(len, chunks))
        assert int(codes.samples) == total
        assert sum(map(len, tiny_codec.stream_decode(codes))) == total
        assert sum(map(len, tiny_codec.decode_pieces([codes]))) == total


def codes_like():
    """Codes as they should be, or about so."""
    row = st.lists(st.integers(-2, 90), max_size=12)
    layer = st.lists(row, min_size=1, max_size=3).map(
        lambda rows: torch.tensor([(one + [-1] * 12)[:12] for one in rows], dtype=torch.long)
    )
    samples = st.lists(st.integers(-1, 6000), min_size=1, max_size=3).map(torch.tensor)
    return st.builds(AudioCodes, st.lists(layer, max_size=4).map(tuple), samples)


@settings(SHARED, max_examples=80)
@given(codes=codes_like(), other=codes_like())
def test_codes(borne, tiny_codec, folder, codes, other):
    borne(tiny_codec.decode, codes)
    borne(AudioCodes.cat, [codes, other])
    codes.save(folder / "codes.safetensors")
    again = borne(AudioCodes.load, folder / "codes.safetensors")
    if again is not None:
        assert all(map(torch.equal, again.layers, codes.layers)) and torch.equal(again.samples, codes.samples)


@settings(SHARED, max_examples=40)
@given(sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=4), seed=st.integers(0, 5))
def test_clips_of_codes(tiny_codec, folder, sizes, seed):
    codes = tiny_codec.encode([_wave(size, seed) for size in sizes])
    codes.save(folder / "batch.safetensors")
    again = AudioCodes.cat([AudioCodes.load(folder / "batch.safetensors")[n] for n in range(len(sizes))])
    assert all(map(torch.equal, again.layers, codes.layers)) and again.samples.tolist() == sizes


@settings(SHARED, max_examples=100)
@given(content=st.binary(max_size=200))
def test_codes_of_any_bytes(borne, folder, content):
    (folder / "bytes.safetensors").write_bytes(content)
    assert borne(AudioCodes.load, folder / "bytes.safetensors") is None


@settings(SHARED, max_examples=60)
@given(words=st.lists(TEXTS, max_size=6).map(tuple), asked=st.lists(TEXTS, max_size=3))
def test_vocabulary(borne, words, asked):
    vocabulary = borne(Vocabulary, words)
    if vocabulary is not None:
        assert vocabulary.codes(words) == list(range(len(words)))
        codes = borne(vocabulary.codes, asked)
        assert codes is None or [vocabulary.words[code] for code in codes] == asked
        borne(vocabulary.token_ids, FakeLLM(words[:3]))


@settings(SHARED, max_examples=150)
@given(
    text=TEXTS | st.recursive(TEXTS | FLOATS, lambda inner: st.dictionaries(TEXTS, inner, max_size=4)).map(json.dumps)
)
@pytest.mark.parametrize("read", [load_template, load_generation_template, Recipe.read])
def test_files_of_yaml(borne, folder, read, text):
    (folder / "given.yaml").write_text(text, encoding="utf-8", errors="replace")
    borne(read, folder / "given.yaml")


@settings(SHARED, max_examples=100)
@given(name=TEXTS | st.sampled_from(template_names()))
def test_templates_by_name(borne, name):
    template = borne(load_template, name)
    assert (template is None) == (name not in template_names())


@settings(SHARED, max_examples=50)
@given(
    fields=st.fixed_dictionaries(
        {"name": TEXTS, "description": TEXTS, "demonstration": TEXTS.map("{{words}}{}{{label}}".format)},
        optional={"query": TEXTS, "layers": st.lists(TEXTS, max_size=3), "instruction": TEXTS},
    )
)
def test_templates_of_any_text_build_prompts(borne, folder, tiny_codec, fields):
    between = fields["demonstration"].removeprefix("{words}").removesuffix("{label}").rstrip(" ")
    fields = {"query": "{words}" + between, "layers": ["semantic"], **fields}
    (folder / "task.yaml").write_text(json.dumps(fields), encoding="utf-8")
    template = borne(load_template, folder / "task.yaml")
    if template is not None:
        made = FewShotClassifier(tiny_codec, FakeLLM(), template, "direct")
        borne(made.fit, [_wave(2000, 0), _wave(2500, 1)], ["a", "b"])


@pytest.fixture(scope="session")
def labelled():
    return read_labelled(DEMO)


@settings(SHARED, max_examples=150)
@given(numbers=st.tuples(*[st.integers(-1, 6)] * 3), queries=st.integers(-1, 4), seed=st.integers(0, 2**32))
def test_drawn_episodes(borne, folder, labelled, numbers, queries, seed):
    ways, shots, count = numbers
    drawn = borne(draw_episodes, labelled, ways, shots, count, seed, queries)
    if drawn is not None:
        save_episodes(folder / "episodes.json", labelled, drawn)
        assert load_episodes(folder / "episodes.json", labelled) == drawn and len(drawn) == count


@settings(SHARED, max_examples=100)
@given(
    content=st.recursive(
        st.none() | st.integers() | TEXTS | st.just("llmcodec-episodes-1"),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["format", "episodes", "demonstrations", "queries", "x"]), inner, max_size=4
            )
        ),
    )
)
def test_episodes_of_any_json(borne, folder, labelled, content):
    (folder / "any.json").write_text(json.dumps(content), encoding="utf-8")
    borne(load_episodes, folder / "any.json", labelled)


@settings(SHARED, max_examples=60)
@given(
    clips=st.lists(waves(2500), max_size=4),
    labels=st.lists(TEXTS | st.integers(0, 2), max_size=4),
    scorer=st.sampled_from(["knn", "direct", "channel", "none such"]),
    layers=st.none() | st.lists(st.sampled_from(["semantic", "coarse", "fine", "x"]), max_size=3),
    asked=st.lists(waves(2500), max_size=2),
)
def test_classifier(borne, tiny_codec, clips, labels, scorer, layers, asked):
    made = borne(FewShotClassifier(tiny_codec, FakeLLM(), scorer=scorer, layers=layers).fit, clips, labels)
    if made is not None:
        found = borne(made.predict_proba, asked)
        assert found is None or found.shape == (len(asked), len(made.classes_))
        assert found is None or np.allclose(found.sum(1), 1)


@settings(SHARED, max_examples=60)
@given(
    texts=st.lists(TEXTS | st.sampled_from(["one", "two"]) | st.none(), max_size=3),
    clips=st.lists(waves(2500), max_size=3),
    asked=TEXTS | st.sampled_from(["one", "two one", "One!"]),
    seconds=st.none() | st.floats(-1, 0.5) | st.sampled_from([float("nan"), float("inf"), 1e9]),
    think=st.booleans(),
)
def test_generator(borne, tiny_codec, fake_llm, texts, clips, asked, seconds, think):
    made = borne(FewShotGenerator(tiny_codec, fake_llm).fit, texts, clips)
    found = None if made is None else borne(made.generate, asked, seconds, think)
    if found is not None:
        assert len(found.wave) == int(found.codes.samples) > 0 and found.wave.isfinite().all()
        assert seconds is None or len(found.wave) == max(1, round(seconds * 16_000))


@pytest.fixture(scope="session")
def fake_llm():
    return FakeLLM(Vocabulary.portable().words[:80])


@pytest.fixture(scope="session")
def checkpoint(tiny_codec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("contracts-codec") / "tiny"
    tiny_codec.save_checkpoint(folder)
    return str(folder)


@settings(SHARED, max_examples=25)
@given(
    files=st.dictionaries(st.sampled_from(["a.wav", "b.flac", "c.txt", "d.mp3"]), st.binary(max_size=60), max_size=3),
    table=st.none() | TEXTS | st.just("file_name\na.wav\ngone.wav\n"),
    per_shard=st.integers(-1, 3),
)
def test_tokenization(borne, checkpoint, tmp_path_factory, files, table, per_shard):
    parquet = pytest.importorskip("pyarrow.parquet")
    data = tmp_path_factory.mktemp("data")
    for name, content in files.items():
        (data / name).write_bytes(content)
    if table is not None:
        (data / "metadata.csv").write_text(table, encoding="utf-8", errors="replace")
    job = Tokenization(data, data / "out", checkpoint, per_shard)
    counts = borne(job.run, lambda done, total: None)
    if counts is not None:
        rows = parquet.read_table(data / "out").to_pylist()
        assert len(rows) == counts[0] and sum(row["error"] is not None for row in rows) == counts[1]
