"""Parts of a training step, recorded on a GPU and played back.

A step is thousands of small kernels, and Python needs longer to launch one than the GPU to run it. A CUDA graph
launches all of them at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from llmcodec.training.data import Batch

Made = TypeVar("Made")
WARM = 3  # times that a part runs as it is before it is recorded: libraries choose their ways, memory is taken


class Recorder:
    """Runs the parts of a step; from the fourth time on it plays back what a part did.

    A part takes nothing and gives tensors. It has to launch the same work on the same tensors whenever it is called,
    and never to wait for the GPU; what it gave the first time is overwritten when it is played back. All parts and what
    comes between them have to run on one CUDA stream that is not the default one.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._runs: Counter[str] = Counter()
        self._graphs: dict[str, tuple[torch.cuda.CUDAGraph, Any]] = {}
        self._batch: Batch | None = None

    def hold(self, batch: Batch) -> Batch:
        """The batch, in tensors that stay where they are."""
        if self._batch is None:
            self._batch = batch
        else:
            self._batch.copy_(batch)
        return self._batch

    def __call__(self, name: str, part: Callable[[], Made]) -> Made:
        """What `part` makes; `name` stands for it and for all that it depends on."""
        self._runs[name] += 1
        if self._runs[name] <= WARM:
            return part()
        if name not in self._graphs:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(
                graph, pool=self._pool, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"
            ):  # other threads pin memory meanwhile
                made = part()
            self._graphs[name] = graph, made
        graph, made = self._graphs[name]
        graph.replay()
        return made
