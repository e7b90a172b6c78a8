"""The HTTP API, asked in this process: what it refuses, and how."""

import pytest
import soundfile
from asking import LAYERS, asked, demonstrations, recordings


@pytest.mark.parametrize("content", [b"RIFF" + bytes(100), b"", b"words, no sound", b"\0" * 1000])
def test_what_is_no_audio_is_refused_by_its_name(post, refused, clip, labelled, content):
    refused(post("/v1/encode", [("file", content)]), 422, "file (file.wav): no audio file")
    fields, files = demonstrations(labelled)
    answer = post("/v1/classify", [*files, ("queries", clip(2)), ("queries", content)], fields)
    refused(answer, 422, "queries 2 (queries.wav): no audio file")
    refused(post("/v1/enhance", [("file", clip(1)), ("noisy", content), ("clean", clip(1))]), 422, "noisy (noisy.wav)")


def test_a_damaged_file_is_refused(post, refused, clip, tmp_path):
    path = tmp_path / "clip.flac"
    soundfile.write(path, soundfile.read(clip(3, 3))[0], 16_000)
    content = path.read_bytes()
    path.unlink()
    refused(post("/v1/encode", [("file", content[: len(content) // 2])]), 422, "file (file.wav)")


def test_a_clip_that_is_too_long_is_refused(post, refused, clip):
    refused(post("/v1/encode", [("file", clip(6, 6))]), 413, "file (file.wav): lasts 6.0 s; at most 5 s are allowed")


def test_a_request_that_is_too_large_is_refused(post, refused, app):
    refused(post("/v1/encode", [("file", bytes(2**20))]), 413, "larger than 1 MB")

    async def chunks():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        for _ in range(17):
            yield bytes(2**16)
        pytest.fail("must not be read")

    for path, kind in (("encode", "multipart/form-data; boundary=x"), ("decode", "application/octet-stream")):
        answer = asked(app, "POST", f"/v1/{path}", content=chunks(), headers={"Content-Type": kind})
        refused(answer, 413, "larger than 1 MB")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": None}, "labels: Field required"),
        ({"labels": ["low"] * 4}, "two classes or more are needed, not of 1 class"),
        ({"labels": ["low", "high"]}, "4 demonstrations need as many labels, not 2"),
        ({"template": "sing"}, "template 'sing' is not one of"),
        ({"template": "../../sound.yaml"}, "is not one of"),
        ({"scorer": "best"}, "scorer 'best' is not one of"),
        ({"explain": "perhaps"}, "explain: Input should be a valid boolean"),
    ],
)
def test_wrong_fields_of_a_classification(post, refused, labelled, clip, change, reason):
    fields, files = demonstrations(labelled)
    refused(post("/v1/classify", [*files, ("queries", clip(2))], {**fields, **change}), 422, reason)


def test_missing_files_and_too_many(post, refused, labelled, clip):
    fields, files = demonstrations(labelled)
    refused(post("/v1/classify", files, fields), 422, "queries: Field required")
    refused(post("/v1/classify", [("queries", clip(2))], fields), 422, "demonstrations: Field required")
    refused(post("/v1/classify", [*files, *[("queries", clip(2))] * 5], fields), 422, "9 clips are too many")
    refused(post("/v1/encode", [("other", clip(2))]), 422, "file: Field required")
    refused(post("/v1/enhance", [("file", clip(2))]), 422, "noisy: Field required; clean: Field required")
    answer = post("/v1/enhance", [("file", clip(2)), ("noisy", clip(1)), ("noisy", clip(1)), ("clean", clip(1))])
    refused(answer, 422, "2 noisy need as many clean, not 1")


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"text": None}, 422, "text: Field required"),
        ({"text": "hum"}, 422, "'hum' was not demonstrated"),
        ({"texts": ["low"]}, 422, "4 recordings need as many texts, not 1"),
        ({"texts": ["low", "", "high", "high"]}, 422, "demonstration 2: the text '' is empty"),
        ({"seconds": "two"}, 422, "seconds: Input should be a valid number"),
        ({"seconds": "0"}, 422, "seconds: 0.0 must be above 0"),
        ({"seconds": "60"}, 413, "60.0 s would be said; at most 2 s"),
        ({"candidates": "100"}, 422, "candidates: Input should be less than or equal to 16"),
        ({"candidates": "2", "stream": "1"}, 422, "candidates: 2 cannot be streamed"),
        ({"text": "hum", "stream": "1"}, 422, "'hum' was not demonstrated"),
        ({"template": "enhance"}, 422, "template 'enhance' is not one of speak, sound"),
        ({"rerank": "best"}, 422, "rerank: 'best' is not one of"),
        ({"seed": "-1"}, 422, "seed: Input should be greater than or equal to 0"),
    ],
)
def test_wrong_fields_of_a_text_to_say(post, refused, spoken, change, status, reason):
    fields, files = recordings(spoken)
    refused(post("/v1/speak", files, {**fields, "text": "low", **change}), status, reason)


def test_another_content_type_or_path_or_method(app, post, refused):
    for path in ("/v1/encode", "/v1/classify", "/v1/speak", "/v1/enhance"):
        refused(asked(app, "POST", path, json={}), 415, "'application/json'; multipart/form-data is needed")
    refused(asked(app, "POST", "/v1/decode", data={"a": "b"}), 415, "application/json or application/octet-stream")
    refused(asked(app, "POST", "/v1/decode"), 415, "content type ''")
    refused(asked(app, "POST", "/v1/sing"), 404, "Not Found")
    refused(asked(app, "GET", "/v1/encode"), 405, "Method Not Allowed")
    headers = {"Content-Type": "multipart/form-data"}
    refused(asked(app, "POST", "/v1/encode", content=b"x", headers=headers), 400, "Missing boundary")
    headers["Content-Type"] += "; boundary=abc"
    refused(asked(app, "POST", "/v1/encode", content=b"no boundary in it", headers=headers), 400, "")
    refused(post("/v1/encode", data={"file": "text"}, files=[("other", b"x")]), 422, "file: a file is needed, not text")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"codec": "another"}, "the codes are of the codec another; this server has"),
        ({"samples": 0}, "samples: Input should be greater than or equal to 1"),
        ({"samples": 80_000}, "layer 0 of the codes does not have one code for every 4 frames"),
        ({"samples": 2**40}, "samples: Input should be less than"),
        ({"layers": []}, "the codes have 0 layers, the codec has 3"),
        ({"layers": [{"name": "semantic", "words": [], "ids": [-1]}]}, "layers.0.ids.0: Input should be greater"),
        ({"layers": [{"name": name, "words": [], "ids": [99] * 300} for name in LAYERS]}, "a code outside 0 to 39"),
        ({"layers": "words"}, "layers: Input should be a valid"),
    ],
)
def test_words_of_another_codec_or_none(post, app, refused, clip, change, reason):
    encoded = post("/v1/encode", [("file", clip(3))]).json()
    refused(asked(app, "POST", "/v1/decode", json={**encoded, **change}), 422, reason)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"codec": "a"}', b"\xff\xfe", b"[" * 100_000])
def test_json_that_is_none(app, refused, content):
    answer = asked(app, "POST", "/v1/decode", content=content, headers={"Content-Type": "application/json"})
    refused(answer, 422, "")


@pytest.mark.parametrize(
    "content", [b"", b"codes", bytes(100), b"\xff" * 100, b"\x10" + bytes(7) + b'{"a": 1}        ']
)
def test_a_codes_file_that_is_none(app, refused, content):
    answer = asked(app, "POST", "/v1/decode", content=content, headers={"Content-Type": "application/octet-stream"})
    refused(answer, 422, "codes: not a file of llmcodec codes")


def test_names_of_files_are_no_paths(app, refused, clip, tmp_path, folders):
    for name in ("../../escaped.wav", "/etc/escaped", "a\0b.wav", "..", "x" * 500, "\u202eevil"):
        with open(clip(3), "rb") as file:
            answer = asked(app, "POST", "/v1/encode", files={"file": (name, file)})
        assert answer.status_code == 200, answer.text
        answer = asked(app, "POST", "/v1/encode", files={"file": (name, b"no sound")})
        refused(answer, 422, "file")
        assert len(answer.json()["detail"]) < 300
    assert not list(tmp_path.parent.glob("escaped*"))


def test_one_request_too_many(post, refused, service, gate, clip):
    waiting = [service.job() for _ in range(2)]
    futures = [service.pool.submit(job, gate) for job in waiting]
    answer = post("/v1/encode", [("file", clip(3))])
    refused(answer, 429, "1 requests are worked on and 1 wait; try again in a few seconds")
    assert int(answer.headers["retry-after"]) > 0
    gate.open()
    for job, future in zip(waiting, futures, strict=True):
        service.pool.result(job, future)
    assert post("/v1/encode", [("file", clip(3))]).status_code == 200


def test_a_request_that_is_not_done_in_time(post, refused, service, gate, clip, monkeypatch):
    job = service.job()
    future = service.pool.submit(job, gate)
    late = service.job()
    late._ends = 0.0
    monkeypatch.setattr(service, "job", lambda: late)
    refused(post("/v1/encode", [("file", clip(3))]), 504, "not done within 60 s")
    gate.open()
    service.pool.result(job, future)


def test_a_failure_of_the_server_tells_nothing(post, refused, service, clip, monkeypatch):
    monkeypatch.setattr(service, "_codes", lambda path: 1 // 0)
    refused(post("/v1/encode", [("file", clip(3))]), 500, "the server failed; its log says why")
