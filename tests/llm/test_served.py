"""A model behind HTTP says what the same model in this process says. The server here answers as vLLM does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from llmcodec.errors import ConfigError, ModelError, PromptError
from llmcodec.llm import Sampling, Schedule, ServedLLM, load_llm, load_transformers

pytest.importorskip("httpx")
PROMPTS = [[5, 9, 30], [5, 9, 30, 12, 7]]
SCHEDULE = Schedule(((10, 20, 31), (7, 8)), (0, 1, 0, 0))


class Server(ThreadingHTTPServer):
    """vLLM's interface before a TransformersLLM: one token at a time, chosen among those allowed."""

    def __init__(self, llm, root):
        super().__init__(("127.0.0.1", 0), Handler)
        self.llm, self.root, self.lock = llm, str(root), threading.Lock()
        self.asked, self.failing, self.plain, self.keys = [], 0, False, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self):
        card = {"id": "served", "root": self.server.root, "max_model_len": self.server.llm.max_context}
        self.answer(200, {"data": [card]} if self.path == "/v1/models" else {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.keys.append(self.headers.get("Authorization"))
            if self.server.failing:
                self.answer(self.server.failing, {"error": {"message": "engine\nis dead"}})
                return
            logprobs = self.server.llm.next_token_logprobs([body["prompt"]])[0]
        allowed = body["allowed_token_ids"]
        if body["temperature"]:
            draw = torch.Generator().manual_seed(body["seed"])
            chances = (logprobs[allowed] / body["temperature"]).softmax(0)
            token = allowed[int(torch.multinomial(chances, 1, generator=draw))]
        else:
            token = max(allowed, key=lambda one: float(logprobs[one]))
        said = {"tokens": [f"token_id:{token}"], "token_logprobs": [float(logprobs[token])]}
        self.answer(200, {"choices": [{"text": "?"} if self.server.plain else {"text": "?", "logprobs": said}]})

    def answer(self, status, content):
        content = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tiny, tmp_path):
    llm = tiny("llama")
    llm.tokenizer.save_pretrained(tmp_path / "model")
    with Server(llm, tmp_path / "model") as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def served(server):
    return load_llm(server.url)


def test_it_is_the_same_model(served, server):
    here = server.llm
    assert isinstance(served, ServedLLM) and served.name == "served"
    assert (served.max_context, served.bos_id) == (here.max_context, here.bos_id)
    assert served.words() == here.words() and served.word_id("dog") == here.word_id("dog")
    assert served.tokenize("the dog and") == here.tokenize("the dog and")


def test_likelihoods_are_those_of_the_model_itself(served, server):
    rows = [[10, 11, 12], [], [13]]
    for llm in (served, server.llm):
        first, second = llm.prepare(PROMPTS)
        behind = llm.extend([(first, [3, 4])])[0]
        found = llm.log_likelihood([(first, rows[0]), (second, rows[1]), (behind, rows[2])])
        if llm is served:
            wanted, asked = found, list(server.asked)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert len(asked) == 4 and all(body["max_tokens"] == 1 for body in asked)  # one for each token that is scored
    assert served.prepare([[]])[0].ids == server.llm.prepare([[]])[0].ids


def test_generations_follow_the_schedule(served, server):
    for llm in (served, server.llm):
        prefixes = llm.prepare(PROMPTS)
        found = [row[0] for row in llm.generate([(prefix, SCHEDULE) for prefix in prefixes])]
        streamed = list(llm.stream(prefixes[0], SCHEDULE))
        assert [token for token, _ in streamed] == list(found[0].ids)
        if llm is served:
            wanted = found
    for one, other in zip(wanted, found, strict=True):
        assert one.ids == other.ids
        torch.testing.assert_close(one.logprobs, other.logprobs, atol=1e-4, rtol=1e-4)


def test_samples_are_seeded(served):
    prefix = served.prepare(PROMPTS[:1])[0]
    warm = Sampling(temperature=5.0, candidates=4, seed=3)
    first, again = (served.generate([(prefix, SCHEDULE)], warm)[0] for _ in range(2))
    assert [one.ids for one in first] == [one.ids for one in again] and len({one.ids for one in first}) > 1
    for sampling in (Sampling(beams=2), Sampling(repetition_penalty=1.2)):
        with pytest.raises(ConfigError, match="served and has neither"):
            served.generate([(prefix, SCHEDULE)], sampling)


def test_whole_distributions_are_refused(served):
    prefix = served.prepare(PROMPTS[:1])[0]
    for call in (lambda: served.expected([(prefix, [5])], [6]), lambda: served.next_token_logprobs(PROMPTS)):
        with pytest.raises(ModelError, match="knn needs the model in this process; use direct or channel"):
            call()


def test_prompts_are_checked_before_anything_is_sent(served, server):
    with pytest.raises(PromptError, match="token id 99999"):
        served.prepare([[99999]])
    prefix = served.prepare([[5] * 60])[0]
    with pytest.raises(PromptError, match="does not fit the context of served"):
        served.log_likelihood([(prefix, [6] * 5)])
    assert not server.asked


def test_a_server_that_fails_is_named(served, server, monkeypatch, tmp_path):
    prefix = served.prepare(PROMPTS[:1])[0]
    server.failing = 500
    with pytest.raises(ModelError, match=r"/v1/completions: status 500: .*engine\\nis dead") as failed:
        served.log_likelihood([(prefix, [6])])
    assert "\n" not in str(failed.value)
    server.failing, server.plain = 0, True
    with pytest.raises(ModelError, match="without ids and log-probabilities; vLLM is needed"):
        served.log_likelihood([(prefix, [6])])
    with pytest.raises(ModelError, match=r"127.0.0.1:9/v1/models: no answer"):
        load_llm("http://127.0.0.1:9/v1")
    with pytest.raises(ModelError, match="an answer without data"):
        load_llm(server.url + "/other")
    with pytest.raises(ModelError, match="its weights are needed here"):
        load_transformers(server.url)
    monkeypatch.setenv("LLMCODEC_LLM_TOKENIZER", str(tmp_path))
    with pytest.raises(ModelError, match="set LLMCODEC_LLM_TOKENIZER to its folder or hub id"):
        load_llm(server.url)


def test_a_key_is_sent(server, monkeypatch):
    monkeypatch.setenv("LLMCODEC_LLM_KEY", "secret")
    llm = load_llm(server.url)
    llm.log_likelihood([(llm.prepare(PROMPTS)[0], [6])])
    assert server.keys == ["Bearer secret"]
