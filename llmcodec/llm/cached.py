"""What transformers keep of prefixes that were read: keys and values, and how to read on behind them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llmcodec.llm.base import Prefix


@dataclass(frozen=True, eq=False)
class Run:
    """One pass over prefixes, padded on the left: keys and values, and which of them stand for a token [B, longest]."""

    cache: Any
    mask: Tensor


@dataclass(frozen=True, eq=False)
class Row:
    """One prefix of a run: the state of a Prefix."""

    run: Run
    place: int


def cache_name(model: Any) -> str:
    """What a model of transformers calls keys and values, given and returned: `cache` since 5.24."""
    return "cache" if "cache" in inspect.signature(type(model).forward).parameters else "past_key_values"


def opened(prefixes: Sequence[Prefix]) -> tuple[Any, Tensor]:
    """A cache of its own for prefixes of one run, as a pass writes into it, and the mask [B, longest] of its keys."""
    run: Run = prefixes[0].state.run
    places = torch.tensor([prefix.state.place for prefix in prefixes], device=run.mask.device)
    cache = copy.deepcopy(run.cache)
    cache.batch_select_indices(places)
    return cache, run.mask[places]


class Rows:
    """Prefixes of one run, read on token by token; meets Continuation."""

    def __init__(self, model: Any, prefixes: Sequence[Prefix]) -> None:
        self._model = model
        self._cache, self._mask = opened(prefixes)
        self._positions = torch.tensor([len(prefix) for prefix in prefixes], device=self._mask.device)

    @property
    def run(self) -> Run:
        """What was read, to be kept: nothing may be read behind it here any more."""
        return Run(self._cache, self._mask)

    def advance(self, parents: Tensor, tokens: Tensor) -> Tensor:
        """See Continuation."""
        device = self._mask.device
        if not torch.equal(parents, torch.arange(len(parents))):
            order = parents.to(device)
            self._cache.reorder_cache(order)
            self._mask, self._positions = self._mask[order], self._positions[order]
        return self.read(tokens.to(device), tokens.shape[1])

    @torch.inference_mode()
    def read(self, tokens: Tensor, last: int = 1) -> Tensor:
        """Tokens [R, n] behind each row -> float32 [R, last, V] log-probabilities of what follows the last ones, on the
        CPU."""
        count = tokens.shape[1]
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), count)], dim=1)
        output = self._model(
            input_ids=tokens,
            attention_mask=self._mask,
            position_ids=self._positions[:, None] + torch.arange(count, device=tokens.device),
            use_cache=True,
            logits_to_keep=last,
            **{cache_name(self._model): self._cache},
        )
        self._positions = self._positions + count
        return output.logits[:, -last:].float().log_softmax(-1).cpu()
