"""The embedded codec and the default language model on real sound: what `make demo` promises."""

import csv
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from llmcodec import FewShotClassifier, LLMCodec, load_audio, load_llm
from llmcodec.llm import list_models

DEMO = Path(str(files("llmcodec") / "data" / "demo"))


@pytest.fixture(scope="module")
def codec() -> LLMCodec:
    return LLMCodec.from_pretrained()


def test_the_default_codec_rebuilds_sound_of_the_same_length_and_spectrum(codec: LLMCodec) -> None:
    likeness = []
    for path in sorted(DEMO.rglob("*.flac")):
        wave = load_audio(path)
        made = codec.decode(codec.encode(wave))[0]
        assert made.shape == wave.shape
        mels = [codec.encoder.log_mel(part[None, : len(part) // 480 * 480]).flatten() for part in (wave, made)]
        likeness.append(torch.corrcoef(torch.stack(mels))[0, 1])
    assert torch.stack(likeness).median() > 0.8 and min(likeness) > 0.5


def test_the_default_model_names_held_out_sounds(codec: LLMCodec) -> None:
    demonstrations = sorted((DEMO / "demonstrations").glob("*/*.flac"))
    classifier = FewShotClassifier(codec=codec, llm=load_llm())
    classifier.fit(demonstrations, [path.parent.name for path in demonstrations])
    with (DEMO / "queries.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    queries = [DEMO / "queries" / Path(row["file"]).name for row in rows]
    probabilities = classifier.predict_proba(queries)
    assert probabilities.shape == (len(rows), 4)
    right = classifier.classes_[probabilities.argmax(1)] == [row["label"] for row in rows]
    assert right.mean() > 0.25 + 0.2  # well above chance, on eight clips


def test_the_default_words_fit_the_default_model(codec: LLMCodec) -> None:
    llm = load_llm()
    for vocabulary in codec.vocabularies:
        ids = vocabulary.token_ids(llm)
        assert len(set(ids)) == len(vocabulary)
    assert any(model.folder for model in list_models())
