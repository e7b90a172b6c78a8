"""The HTTP API, asked in this process: what it answers."""

import json
from urllib.parse import unquote

import pytest
import torch
from asking import LAYERS, asked, demonstrations, recordings, sound_of

from llmcodec.codec import AudioCodes
from llmcodec.evaluation.provenance import digest
from llmcodec.webapp import Limits


def test_health(app, service):
    answer = asked(app, "GET", "/v1/health").json()
    assert answer["llm"] == "fake" and answer["codec"] == digest(service.codec) and answer["load"] == 0
    assert Limits(**answer["limits"]) == service.limits


def test_a_clip_as_words_and_back(post, app, service, clip, tiny_codec):
    found = post("/v1/encode", [("file", clip(3, 1.7))]).json()
    codes = service.encode(clip(3, 1.7))
    assert (found["sample_rate"], found["samples"], found["seconds"]) == (16_000, 27_200, 1.7)
    assert [layer["name"] for layer in found["layers"]] == LAYERS
    for layer, row, vocabulary in zip(found["layers"], codes.layers, tiny_codec.vocabularies, strict=True):
        assert layer["ids"] == row[0].tolist()
        assert layer["words"] == [vocabulary.words[code] for code in row[0]]
    back = sound_of(asked(app, "POST", "/v1/decode", json=found))
    torch.testing.assert_close(back, service.decode(codes).clamp(-1, 1), atol=2**-14, rtol=0)


def test_a_clip_as_a_codes_file_and_back(post, app, service, clip, tmp_path):
    file = post("/v1/encode", [("file", clip(3))], {"format": "codes"})
    assert file.headers["content-type"] == "application/octet-stream"
    path = tmp_path / "codes.safetensors"
    path.write_bytes(file.content)
    assert all(map(torch.equal, AudioCodes.load(path).layers, service.encode(clip(3)).layers))
    path.unlink()
    headers = {"Content-Type": "application/octet-stream"}
    assert len(sound_of(asked(app, "POST", "/v1/decode", content=file.content, headers=headers))) == 8000


@pytest.mark.parametrize("explain", [False, True])
def test_clips_are_named(post, service, labelled, clip, explain):
    fields, files = demonstrations(labelled)
    answer = post("/v1/classify", [*files, ("queries", clip(2)), ("queries", clip(7))], {**fields, "explain": explain})
    expected = service.classify(labelled, [clip(2), clip(7)])
    assert answer.status_code == 200, answer.text
    for found, one in zip(answer.json()["results"], expected, strict=True):
        assert found["label"] == one.label and found["probabilities"] == pytest.approx(one.probabilities)
        words = [(word["word"], word["label"]) for word in found["words"]]
        assert words == [(reason.word, reason.label) for reason in one.reasons if explain]


def test_a_text_is_said_at_once_or_in_pieces(post, spoken, service):
    fields, files = recordings(spoken)
    whole = post("/v1/speak", files, {**fields, "text": "high low"})
    expected = service.speak("high low", spoken).wave.clamp(-1, 1)
    torch.testing.assert_close(sound_of(whole), expected, atol=2**-14, rtol=0)
    assert unquote(whole.headers["x-said"]) == "high low"
    streamed = post("/v1/speak", files, {**fields, "text": "high low", "stream": True})
    torch.testing.assert_close(sound_of(streamed), expected, atol=2**-14, rtol=0)


def test_a_clip_is_enhanced(post, service, clip):
    files = [("file", clip(3)), ("noisy", clip(1)), ("clean", clip(1)), ("noisy", clip(2)), ("clean", clip(2))]
    expected = service.enhance(clip(3), [(clip(1), clip(1)), (clip(2), clip(2))]).clamp(-1, 1)
    torch.testing.assert_close(sound_of(post("/v1/enhance", files)), expected, atol=2**-14, rtol=0)


def test_the_api_describes_itself(app):
    description = asked(app, "GET", "/openapi.json").json()
    verbs = {path: operation for path, methods in description["paths"].items() for operation in methods.values()}
    assert set(verbs) == {f"/v1/{verb}" for verb in ("health", "encode", "decode", "classify", "speak", "enhance")}
    for operation in verbs.values():
        assert operation["description"]
        assert operation["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
    assert json.dumps(description).count("#/components/schemas/Encoded") == 2
    assert asked(app, "GET", "/docs").status_code == 200
