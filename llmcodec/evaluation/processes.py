"""Work shared among the processes that `accelerate launch` started."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from llmcodec.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Processes:
    """The processes of this job, one where nothing launched several; `first` is the one that writes and prints.

    count: default what the launcher says. ConfigError: several, without `accelerate`.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1")) if count is None else count
        self.rank = 0
        if self.count > 1:
            try:
                from accelerate import PartialState
            except ImportError as error:
                raise ConfigError("several processes need accelerate: pip install 'llmcodec[train]'") from error
            self.rank = PartialState(cpu=not torch.cuda.is_available()).process_index

    @property
    def first(self) -> bool:
        return self.rank == 0

    def map(
        self, work: Callable[[Item], Result], items: Sequence[Item], progress: Callable[[int, int], None]
    ) -> list[Result]:
        """`work` of every item, in their order, in every process; each does its share. Results are pickled."""
        own = list(range(self.rank, len(items), self.count))
        done = []
        for number, place in enumerate(own, 1):
            done.append((place, work(items[place])))
            progress(number, len(own))
        if self.count > 1:
            from accelerate.utils import gather_object

            done = sorted(gather_object(done), key=lambda pair: pair[0])
        return [result for _, result in done]
