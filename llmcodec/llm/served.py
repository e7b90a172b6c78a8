"""A language model behind the HTTP interface of vLLM as a FrozenLLM."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import torch
from torch import Tensor

from llmcodec.errors import ConfigError, ModelError, first_line
from llmcodec.llm.base import Prefix, check_fits, checked_ids
from llmcodec.llm.decoding import GREEDY, Generation, Request, Sampling, Schedule, check_stream, checked_requests
from llmcodec.llm.tokenizer import TextTokenizer
from llmcodec.models import quiet_loading

KEY, TOKENIZER = "LLMCODEC_LLM_KEY", "LLMCODEC_LLM_TOKENIZER"
CONNECTIONS = 64  # requests at once; the server batches them
SECONDS = 600.0  # for one answer


class ServedLLM:
    """A model that `vllm serve MODEL` answers for, at https://HOST:PORT/v1; meets FrozenLLM but for `expected` and
    `next_token_logprobs`, which raise ModelError: whole distributions do not come over a network.

    The log-probability of a token is asked for by a request that allows no other: vLLM reports what the model gave it
    before such limits (its `--logprobs-mode raw_logprobs`, the default). Each request repeats its prefix; the server's
    prefix cache, on by default, keeps what was read. Nothing is read before it is scored, so `prepare` is free.

    tokenizer: folder or hub id; default: $LLMCODEC_LLM_TOKENIZER, else what the server calls its model. A key, if the
    server wants one, is taken from $LLMCODEC_LLM_KEY. ModelError: no answer, or no tokenizer.
    """

    def __init__(self, url: str, tokenizer: str | None = None) -> None:
        try:
            import httpx
        except ImportError as error:
            raise ModelError(f"{url}: a served model needs {error.name}: pip install 'llmcodec[vllm]'") from error
        self.url = url.rstrip("/")
        key = os.environ.get(KEY)
        self._client = httpx.Client(
            timeout=SECONDS, headers={"Authorization": f"Bearer {key}"} if key else None,
            limits=httpx.Limits(max_connections=CONNECTIONS), transport=httpx.HTTPTransport(retries=2),
        )  # fmt: skip
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="served")
        card = self._listed(self._asked("GET", "models"), "data")
        self.name = str(card["id"])
        self.max_context = int(card["max_model_len"])
        self.text = TextTokenizer(_tokenizer(tokenizer or os.environ.get(TOKENIZER) or str(card["root"])), self.name)
        self.vocab_size = 1 + max(self.text.tokenizer.get_vocab().values())
        self.bos_id: int | None = self.text.tokenizer.bos_token_id

    def tokenize(self, text: str) -> list[int]:
        """See FrozenLLM."""
        return self.text.tokenize(text)

    def word_id(self, word: str) -> int:
        """See FrozenLLM."""
        return self.text.word_id(word)

    def words(self) -> dict[str, int]:
        """See FrozenLLM."""
        return dict(self.text.words)

    def prepare(self, prefixes: Sequence[Sequence[int]]) -> list[Prefix]:
        """See FrozenLLM."""
        rows = [checked_ids(row, self.vocab_size, self.name) or [self.text.start] for row in prefixes]
        return [self._prefix(row) for row in rows]

    def extend(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[Prefix]:
        """See FrozenLLM."""
        return [self._prefix([*prefix.ids, *checked_ids(row, self.vocab_size, self.name)]) for prefix, row in pairs]

    def log_likelihood(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[Tensor]:
        """See FrozenLLM."""
        rows = [checked_ids(row, self.vocab_size, self.name) for _, row in pairs]
        for (prefix, _), row in zip(pairs, rows, strict=True):
            check_fits(len(prefix), len(row), self.max_context, self.name)
        asked = [
            self._threads.submit(self._next, [*prefix.ids, *row[:place]], [token])
            for (prefix, _), row in zip(pairs, rows, strict=True)
            for place, token in enumerate(row)
        ]
        found = iter([future.result()[1] for future in asked])
        return [torch.tensor([next(found) for _ in row]) for row in rows]

    def expected(self, pairs: Sequence[tuple[Prefix, Sequence[int]]], ids: Sequence[int]) -> Tensor:
        """ModelError: see the class."""
        self._refuse()

    def next_token_logprobs(self, prefixes: Sequence[Sequence[int]]) -> Tensor:
        """ModelError: see the class."""
        self._refuse()

    def generate(self, requests: Sequence[Request], sampling: Sampling = GREEDY) -> list[list[Generation]]:
        """See FrozenLLM. Samples are the server's own. ConfigError for beams and a repetition penalty."""
        checked_requests(requests, self.max_context, self.vocab_size, self.name)
        asked = [
            [self._threads.submit(self._written, *request, sampling, n) for n in range(sampling.candidates)]
            for request in requests
        ]
        return [[future.result() for future in row] for row in asked]

    def stream(self, prefix: Prefix, schedule: Schedule, sampling: Sampling = GREEDY) -> Iterator[tuple[int, float]]:
        """See FrozenLLM."""
        check_stream(sampling)
        checked_requests([(prefix, schedule)], self.max_context, self.vocab_size, self.name)
        return self._words_of(prefix, schedule, sampling, 0)

    def _prefix(self, ids: Sequence[int]) -> Prefix:
        check_fits(len(ids), 0, self.max_context, self.name)
        return Prefix(tuple(ids), torch.zeros(0), None)

    def _written(self, prefix: Prefix, schedule: Schedule, sampling: Sampling, candidate: int) -> Generation:
        ids, logprobs = zip(*self._words_of(prefix, schedule, sampling, candidate), strict=True)
        return Generation(ids, torch.tensor(logprobs))

    def _words_of(
        self, prefix: Prefix, schedule: Schedule, sampling: Sampling, candidate: int
    ) -> Iterator[tuple[int, float]]:
        if sampling.beams > 1 or sampling.repetition_penalty != 1:
            raise ConfigError(f"beams, repetition_penalty: {self.name} is served and has neither; both must be 1")
        ids = list(prefix.ids)
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        for step in range(len(schedule)):
            seed = ((sampling.seed + candidate << 16) + step) % 2**31  # each step is a request of its own
            token, logprob = self._next(ids, schedule.allowed(ids[len(prefix) :]), seed=seed, **drawn)
            ids.append(token)
            yield token, logprob

    def _next(self, ids: Sequence[int], allowed: Sequence[int], **drawn: Any) -> tuple[int, float]:
        """The next of the allowed ids, and its log-probability among all."""
        body = {
            "model": self.name, "prompt": list(ids), "max_tokens": 1, "logprobs": 1, "allowed_token_ids": list(allowed),
            "return_tokens_as_token_ids": True, "ignore_eos": True, "temperature": 0.0, **drawn,
        }  # fmt: skip
        found = self._listed(self._asked("POST", "completions", body), "choices")
        try:
            token = int(found["logprobs"]["tokens"][0].removeprefix("token_id:"))
            return token, float(found["logprobs"]["token_logprobs"][0])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{self.url}: answers without ids and log-probabilities; vLLM is needed") from error

    def _asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        import httpx

        try:
            answer = self._client.request(method, f"{self.url}/{path}", json=body)
            if answer.is_error:
                raise ModelError(
                    f"{self.url}/{path}: status {answer.status_code}: {' '.join(answer.text.split())[:300]}"
                )
            return answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ModelError(f"{self.url}/{path}: no answer: {first_line(error)}") from error

    def _listed(self, answer: Any, name: str) -> Any:
        """The first of a list in an answer."""
        if not (isinstance(answer, dict) and isinstance(answer.get(name), list) and answer[name]):
            raise ModelError(f"{self.url}: an answer without {name}; vLLM is needed")
        return answer[name][0]

    def _refuse(self) -> NoReturn:
        raise ModelError(
            f"{self.name} is served, and whole distributions do not come over a network: the scorer knn needs the "
            "model in this process; use direct or channel"
        )


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet_loading():
            return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the tokenizer {name!r} cannot be loaded ({first_line(error)}); set {TOKENIZER} to its folder or hub id"
        ) from error
