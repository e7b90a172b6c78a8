"""What can be told without a GPU; tests/training/test_trainer.py compares recorded steps where there is one."""

import pytest
import torch

from llmcodec.training import recorder
from llmcodec.training.data import Batch


class Tape:
    """In place of a CUDA graph: what was done while it recorded can be counted, and how often it was played."""

    played = 0

    def replay(self):
        self.played += 1


@pytest.fixture
def tape(monkeypatch):
    made = Tape()
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: made)
    monkeypatch.setattr(torch.cuda, "graph", lambda tape, **options: torch.no_grad())
    return made


def batch(value):
    return Batch(*(torch.full((2, 3), value) for _ in range(6)))


def test_a_part_runs_a_few_times_is_recorded_once_and_played_from_then_on(tape):
    record, calls = recorder.Recorder(), []
    results = [record("part", lambda: calls.append(1) or len(calls)) for _ in range(6)]
    assert results == [1, 2, 3, 4, 4, 4] and len(calls) == recorder.WARM + 1
    assert tape.played == 3
    assert record("another", lambda: "runs") == "runs"


def test_batches_are_put_where_the_first_one_was(tape):
    record = recorder.Recorder()
    first = record.hold(batch(1.0))
    places = [getattr(first, name).data_ptr() for name in first.__dataclass_fields__]
    second = record.hold(batch(2.0))
    assert [getattr(second, name).data_ptr() for name in second.__dataclass_fields__] == places
    assert all(bool((getattr(second, name) == 2).all()) for name in second.__dataclass_fields__)
