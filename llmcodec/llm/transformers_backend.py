"""Any causal language model of transformers as a FrozenLLM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmcodec.errors import ModelError, first_line
from llmcodec.llm.base import Prefix, check_fits, checked_ids
from llmcodec.llm.cached import Row, Rows, Run, cache_name, opened
from llmcodec.llm.decoding import (
    GREEDY,
    Generation,
    Request,
    Sampling,
    Schedule,
    Search,
    check_stream,
    checked_requests,
    searched,
    streamed,
)
from llmcodec.llm.devices import device_named, dtype_named
from llmcodec.llm.tokenizer import TextTokenizer
from llmcodec.models import quiet_loading

_STEP = 32  # tokens of each continuation that a pass should hold at least, before its batch grows


class TransformersLLM:
    """A frozen AutoModelForCausalLM with its tokenizer; meets FrozenLLM.

    batch_tokens bounds the keys and values of one batch (prefix and continuation of every row), batch_logits the logits
    of one pass, so that memory stays bounded whatever comes in. Both only trade memory for speed.
    """

    def __init__(
        self, model: Any, tokenizer: Any, name: str, batch_tokens: int = 16_384, batch_logits: int = 1 << 26
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.batch_tokens = batch_tokens
        self.batch_logits = batch_logits
        config = model.config.get_text_config()
        self.text = TextTokenizer(tokenizer, name, config.bos_token_id)
        head = model.get_output_embeddings()
        head.register_forward_pre_hook(_evenly_strided)
        self.vocab_size = int(head.weight.shape[0])
        self.max_context = int(getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length)
        self.bos_id: int | None = tokenizer.bos_token_id
        self._start = self.text.start

    @classmethod
    def from_folder(
        cls, folder: str | Path, name: str | None = None, dtype: str = "auto", device: str = "auto"
    ) -> TransformersLLM:
        """Load a folder of `save_pretrained`. ModelError if it is damaged, incomplete or not a causal language model.

        dtype: "auto" (bfloat16 on CUDA and on CPUs that compute in it, else float32) or a torch type's name.
        device: "auto" (CUDA if there is one, else the CPU) or a torch device's name.
        """
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        load: Any = AutoModelForCausalLM.from_pretrained  # its types do not know output_loading_info
        place = device_named(device)
        kind = dtype_named(dtype, place)
        try:
            with quiet_loading():
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
                model, loading = load(folder, dtype=kind, local_files_only=True, output_loading_info=True)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            raise ModelError(
                f"{folder}: not a causal language model that transformers can load: {first_line(error)}"
            ) from error
        if loading["missing_keys"]:
            missing = sorted(loading["missing_keys"])
            raise ModelError(f"{folder}: {len(missing)} weights are missing from the checkpoint, such as {missing[0]}")
        return cls(model.to(place), tokenizer, name or Path(folder).name)

    def tokenize(self, text: str) -> list[int]:
        """See FrozenLLM."""
        return self.text.tokenize(text)

    def word_id(self, word: str) -> int:
        """See FrozenLLM."""
        return self.text.word_id(word)

    def words(self) -> dict[str, int]:
        """See FrozenLLM."""
        return dict(self.text.words)

    def embeddings(self) -> Tensor:
        """The input embeddings, float32 [V, E] on the CPU: what codebooks are projected from."""
        return self.model.get_input_embeddings().weight.detach().float().cpu()

    def prepare(self, prefixes: Sequence[Sequence[int]]) -> list[Prefix]:
        """See FrozenLLM."""
        rows = self._checked_prefixes(prefixes)
        results: dict[int, Prefix] = {}
        for batch in self._batches(list(map(len, rows)), 0):
            logprobs, run = self._read([rows[i] for i in batch], keep=True)
            for place, i in enumerate(batch):
                results[i] = Prefix(tuple(rows[i]), logprobs[place].clone(), Row(run, place))
        return [results[i] for i in range(len(rows))]

    def next_token_logprobs(self, prefixes: Sequence[Sequence[int]]) -> Tensor:
        """See FrozenLLM."""
        rows = self._checked_prefixes(prefixes)
        result = torch.zeros(len(rows), self.vocab_size)
        for batch in self._batches(list(map(len, rows)), 0):
            result[batch] = self._read([rows[i] for i in batch], keep=False)[0]
        return result

    def extend(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[Prefix]:
        """See FrozenLLM."""
        rows = self._checked_pairs(pairs)
        results = {i: pairs[i][0] for i, row in enumerate(rows) if not row}
        for count in {len(row) for row in rows if row}:  # rows of one length need no padding between prefix and ids
            alike = [row if len(row) == count else [] for row in rows]
            for batch in self._batches_of_runs(pairs, alike):
                prefixes = [pairs[i][0] for i in batch]
                reader = Rows(self.model, prefixes)
                logprobs = reader.read(self._pad([rows[i] for i in batch], left=False)[0])[:, 0]
                run = reader.run
                for place, i in enumerate(batch):
                    ids = (*pairs[i][0].ids, *rows[i])
                    results[i] = Prefix(ids, logprobs[place].clone(), Row(run, place))
        return [results[i] for i in range(len(rows))]

    def log_likelihood(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[Tensor]:
        """See FrozenLLM."""
        rows = self._checked_pairs(pairs)
        results = [torch.zeros(len(row)) for row in rows]
        for batch in self._batches_of_runs(pairs, rows):
            scores = self._score([pairs[i][0] for i in batch], [rows[i] for i in batch]).cpu()
            for i, score in zip(batch, scores, strict=True):
                results[i].copy_(score[: len(rows[i])])
        return results

    def expected(self, pairs: Sequence[tuple[Prefix, Sequence[int]]], ids: Sequence[int]) -> Tensor:
        """See FrozenLLM."""
        rows, chosen = self._checked_pairs(pairs), torch.tensor(checked_ids(ids, self.vocab_size, self.name))
        if not pairs:
            return torch.zeros(0, len(chosen))
        results = torch.stack([prefix.next_logprobs[chosen].softmax(0) for prefix, _ in pairs])
        for batch in self._batches_of_runs(pairs, rows):
            results[batch] += self._expected([pairs[i][0] for i in batch], [rows[i] for i in batch], chosen).cpu()
        return results / torch.tensor([[len(row) + 1] for row in rows])

    def generate(self, requests: Sequence[Request], sampling: Sampling = GREEDY) -> list[list[Generation]]:
        """See FrozenLLM."""
        checked_requests(requests, self.max_context, self.vocab_size, self.name)
        each = 1 if sampling.beams > 1 else sampling.candidates
        units = [(prefix, schedule.steps) for prefix, schedule in requests for _ in range(each)]
        results: list[list[Generation]] = [[] for _ in requests]
        for batch in self._batches_of_runs(units, [list(steps) for _, steps in units], rows_each=sampling.beams):
            batch.sort()
            search = self._search([requests[unit // each] for unit in batch], [unit % each for unit in batch], sampling)
            *_, last = search
            for place, unit in enumerate(batch):
                results[unit // each] += last.results(place, sampling.candidates // each)
        return results

    def stream(self, prefix: Prefix, schedule: Schedule, sampling: Sampling = GREEDY) -> Iterator[tuple[int, float]]:
        """See FrozenLLM."""
        check_stream(sampling)
        checked_requests([(prefix, schedule)], self.max_context, self.vocab_size, self.name)
        yield from streamed(self._search([(prefix, schedule)], [0], sampling))

    def _search(self, units: Sequence[Request], candidates: Sequence[int], sampling: Sampling) -> Iterator[Search]:
        prefixes = [prefix for prefix, _ in units for _ in range(sampling.beams)]
        search = Search([schedule for _, schedule in units], [sampling.seed + n for n in candidates], sampling)
        return searched(Rows(self.model, prefixes), torch.stack([one.next_logprobs for one in prefixes]), search)

    def _checked_pairs(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[list[int]]:
        rows = [checked_ids(row, self.vocab_size, self.name) for _, row in pairs]
        for (prefix, _), row in zip(pairs, rows, strict=True):
            check_fits(len(prefix), len(row), self.max_context, self.name)
        return rows

    def _batches_of_runs(
        self, pairs: Sequence[tuple[Prefix, Sequence[int]]], rows: Sequence[list[int]], rows_each: int = 1
    ) -> Iterator[list[int]]:
        """Places of pairs with tokens to read, in batches whose prefixes come from one run; rows_each: how many rows of
        a batch a pair takes."""
        runs: dict[int, list[int]] = {}
        for i, (prefix, _) in enumerate(pairs):
            if rows[i]:
                runs.setdefault(id(prefix.state.run), []).append(i)
        for members in runs.values():
            longest = pairs[members[0]][0].state.run.mask.shape[1]
            for places in self._batches([len(rows[i]) for i in members], longest, rows_each):
                yield [members[place] for place in places]

    def _checked_prefixes(self, prefixes: Sequence[Sequence[int]]) -> list[list[int]]:
        rows = [checked_ids(row, self.vocab_size, self.name) or [self._start] for row in prefixes]
        check_fits(max(map(len, rows), default=0), 0, self.max_context, self.name)
        return rows

    @torch.inference_mode()
    def _read(self, rows: list[list[int]], keep: bool) -> tuple[Tensor, Run]:
        """Log-probabilities [B, V] of the token behind each row, on the CPU, and the run; its cache only if to keep."""
        tokens, mask = self._pad(rows, left=True)
        output = self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=keep,
            logits_to_keep=1,
        )
        kept = Run(output[cache_name(self.model)] if keep else None, mask)
        return output.logits[:, -1].float().log_softmax(-1).cpu(), kept

    @torch.inference_mode()
    def _score(self, prefixes: list[Prefix], rows: list[list[int]]) -> Tensor:
        """Log-probabilities [B, longest row] behind prefixes of one run; behind a row's end they mean nothing."""
        tokens, mask = self._pad(rows, left=False)
        scores = torch.zeros(tokens.shape, device=tokens.device)
        first = torch.stack([prefix.next_logprobs for prefix in prefixes]).to(tokens.device)
        scores[:, :1] = first.gather(1, tokens[:, :1])
        for begin, logits in self._logits(prefixes, tokens[:, :-1], mask[:, :-1]):
            targets = tokens[:, begin + 1 : begin + 1 + logits.shape[1]]
            chosen = logits.gather(-1, targets[..., None])[..., 0].float()
            # Row by row, so that only one row's logits exist in float32.
            normaliser = torch.stack([row.float().logsumexp(-1) for row in logits])
            scores[:, begin + 1 : begin + 1 + logits.shape[1]] = chosen - normaliser
        return scores

    @torch.inference_mode()
    def _expected(self, prefixes: list[Prefix], rows: list[list[int]], ids: Tensor) -> Tensor:
        """Probabilities [B, ids] behind the tokens of each row, summed over them."""
        tokens, mask = self._pad(rows, left=False)
        sums, ids = torch.zeros(len(rows), len(ids), device=tokens.device), ids.to(tokens.device)
        for begin, logits in self._logits(prefixes, tokens, mask):
            there = mask[:, begin : begin + logits.shape[1], None]
            sums += (logits[..., ids].float().softmax(-1) * there).sum(1)
        return sums

    def _logits(self, prefixes: list[Prefix], tokens: Tensor, mask: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Logits [B, n, V] behind the tokens [B, T], piece by piece, each with where it begins."""
        batch, longest = tokens.shape
        if not longest:
            return
        cache, read = opened(prefixes)
        mask = torch.cat([read, mask], dim=1)
        start = read.shape[1]
        positions = torch.tensor([[len(prefix)] for prefix in prefixes]) + torch.arange(longest)
        positions = positions.to(tokens.device)
        step = max(1, self.batch_logits // (batch * self.vocab_size))
        for begin in range(0, longest, step):
            end = min(begin + step, longest)
            output = self.model(
                input_ids=tokens[:, begin:end],
                attention_mask=mask[:, : start + end],
                position_ids=positions[:, begin:end],
                use_cache=True,
                **{cache_name(self.model): cache},
            )
            yield begin, output.logits

    def _batches(self, lengths: Sequence[int], prefix: int, rows_each: int = 1) -> Iterator[list[int]]:
        """Places of rows of those lengths, longest first, in batches that keep to both bounds (or hold one row)."""
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        while order:
            longest = lengths[order[0]]
            by_tokens = self.batch_tokens // (prefix + longest)
            by_logits = self.batch_logits // (self.vocab_size * min(longest, _STEP))
            size = max(1, min(by_tokens, by_logits) // rows_each)
            yield order[:size]
            order = order[size:]

    def _pad(self, rows: list[list[int]], left: bool) -> tuple[Tensor, Tensor]:
        """Tokens and attention mask, int64 [B, longest]."""
        longest = max(map(len, rows))
        tokens = torch.full((len(rows), longest), self._start)
        mask = torch.zeros_like(tokens)
        for i, row in enumerate(rows):
            where = slice(longest - len(row), longest) if left else slice(0, len(row))
            tokens[i, where] = torch.tensor(row)
            mask[i, where] = 1
        return tokens.to(self.model.device), mask.to(self.model.device)


def _evenly_strided(head: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What goes into the head as if it had been made in that shape. A slice of the last steps is multiplied row by row
    otherwise, each time with a copy of the head's weights."""
    hidden, *others = given
    return hidden.contiguous().reshape(-1, hidden.shape[-1]).view(hidden.shape), *others
