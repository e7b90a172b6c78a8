"""The HTTP API, asked in this process."""

import asyncio
import io
import json
import tempfile
from contextlib import ExitStack
from urllib.parse import unquote

import pytest
import soundfile
import torch

from llmcodec.codec import AudioCodes
from llmcodec.evaluation.provenance import digest
from llmcodec.webapp import Limits, Service

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")
pytest.importorskip("multipart", reason="python-multipart reads the forms")

from llmcodec.webapp.api import build_api  # noqa: E402
from llmcodec.webapp.uploads import FOLDER_PREFIX  # noqa: E402

LAYERS = ["semantic", "coarse", "fine"]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Temporary folders of requests are made here; after a test there are none."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield lambda: list(tmp_path.glob(f"{FOLDER_PREFIX}*"))
    assert not list(tmp_path.iterdir())


def asked(app, method, path, **request):
    async def ask():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **request)

    return asyncio.run(ask())


@pytest.fixture
def app(service):
    return build_api(service)


@pytest.fixture
def post(app):
    """post(path, files=[(field, file or bytes), ...], data={...}) -> the answer to a form."""

    def send(path, files=(), data=None, **request):
        with ExitStack() as opened:

            def body(content):
                return content if isinstance(content, bytes) else opened.enter_context(open(content, "rb"))

            parts = [(field, (f"{field}.wav", body(content))) for field, content in files]
            fields = {name: value for name, value in (data or {}).items() if value is not None}
            return asked(app, "POST", path, files=parts or None, data=fields, **request)

    return send


@pytest.fixture
def refused():
    """refused(answer, status, text): one sentence of JSON with that text, and no path of this machine."""

    def check(answer, status, text):
        assert answer.status_code == status, answer.text
        assert list(answer.json()) == ["detail"]
        detail = answer.json()["detail"]
        assert text in detail and "\n" not in detail and "Traceback" not in detail
        assert tempfile.tempdir not in detail

    return check


def demonstrations(labelled):
    """Form fields and files of a classification without its queries."""
    shown = [(label, path) for label, paths in labelled.items() for path in paths]
    return {"labels": [label for label, _ in shown]}, [("demonstrations", path) for _, path in shown]


def recordings(spoken):
    return {"texts": [text for text, _ in spoken]}, [("recordings", path) for _, path in spoken]


def sound_of(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/wav"
    samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    assert rate == 16_000
    return torch.from_numpy(samples)


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


class Client:
    """A client that sends a form and may go away at any point: the application's `receive` and `send`."""

    def __init__(self, path, clip, whole=True, field="file", data=None):
        request = httpx.Request("POST", f"http://test{path}", files={field: clip.read_bytes()}, data=data)
        if path == "/v1/decode":
            request.headers["Content-Type"] = "application/json"
        self.body, self.whole = request.read(), whole
        self.scope = {
            "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "path": path,
            "query_string": b"", "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "root_path": "", "server": ("test", 80), "client": ("test", 1), "asgi": {"spec_version": "2.3"},
        }  # fmt: skip
        self.sent, self.gone = [], asyncio.Event()

    async def receive(self):
        if self.body is not None:
            body, self.body = self.body, None
            return {"type": "http.request", "body": body, "more_body": not self.whole}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)


@pytest.mark.parametrize("queued", [False, True])
def test_a_client_that_goes_away_cancels_its_work(app, service, gate, clip, folders, queued):
    async def scenario():
        if queued:
            service.pool.submit(service.job(), gate)
        client = Client("/v1/encode", clip(3))
        task = asyncio.create_task(app(client.scope, client.receive, client.send))
        await asyncio.to_thread(gate.reached.wait, 60)
        while service.pool.load < 1 + queued:
            await asyncio.sleep(0)
        assert folders()
        client.gone.set()
        if not queued:
            while not next(iter(service.pool._jobs))._cancelled.is_set():
                await asyncio.sleep(0)
            gate.open()
        await task
        assert service.pool.load == queued and not folders()
        gate.open()

    asyncio.run(scenario())


def test_a_client_that_leaves_a_stream_cancels_it(app, service, clip, folders):
    async def scenario():
        data = {"text": "low", "texts": "low", "seconds": "2", "stream": "1"}
        client = Client("/v1/speak", clip(3), field="recordings", data=data)
        leave = client.send

        async def send(message):
            await leave(message)
            if message["type"] == "http.response.body":
                client.gone.set()
                await asyncio.sleep(0)

        await app(client.scope, client.receive, send)
        assert client.sent[0]["status"] == 200 and client.sent[1]["body"].startswith(b"RIFF")
        assert not folders()

    asyncio.run(scenario())
    service.close()
    assert service.pool.load == 0


@pytest.mark.parametrize("path", ["/v1/encode", "/v1/decode"])
def test_a_client_that_goes_away_while_it_sends_is_no_failure(app, clip, path):
    async def scenario():
        client = Client(path, clip(3), whole=False)
        client.gone.set()
        await app(client.scope, client.receive, client.send)
        assert client.sent[0]["status"] == 400

    asyncio.run(scenario())


def test_a_body_that_does_not_come_is_not_waited_for(tiny_codec, service, refused):
    with Service(tiny_codec, service.llm, Limits(timeout=0.01)) as hasty:
        app = build_api(hasty)

        async def never():
            yield b"--x"
            await asyncio.Event().wait()

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = asked(app, "POST", "/v1/encode", content=never(), headers=headers)
        refused(answer, 408, "the request did not come in within 0.01 s")


def test_the_api_describes_itself(app):
    description = asked(app, "GET", "/openapi.json").json()
    verbs = {path: operation for path, methods in description["paths"].items() for operation in methods.values()}
    assert set(verbs) == {f"/v1/{verb}" for verb in ("health", "encode", "decode", "classify", "speak", "enhance")}
    for operation in verbs.values():
        assert operation["description"]
        assert operation["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
    assert json.dumps(description).count("#/components/schemas/Encoded") == 2
    assert asked(app, "GET", "/docs").status_code == 200
