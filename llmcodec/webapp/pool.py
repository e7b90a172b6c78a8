"""A few threads that do all heavy work, with a short queue before them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, TimeoutError
from typing import Any, TypeVar

from llmcodec.errors import LLMCodecError

T = TypeVar("T")
_thread = threading.local()


class Busy(LLMCodecError):
    """All workers work and the queue is full."""


class Cancelled(LLMCodecError):
    """Nobody waits for this work any more."""


class TimedOut(LLMCodecError):
    """The work was not done in the time it had."""


class Job:
    """Work that somebody waits for, for so many seconds from now at most.

    `cancel`, from any thread, takes it out of the queue or stops it at its next check.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends = time.monotonic() + seconds
        self._cancelled = threading.Event()
        self._future: Future[Any] | None = None

    @property
    def left(self) -> float:
        """Seconds until the time is up."""
        return max(0.0, self._ends - time.monotonic())

    def cancel(self) -> None:
        self._cancelled.set()
        future = self._future  # none before and after it is in the pool
        if future is not None:
            future.cancel()

    def check(self) -> None:
        """Cancelled or TimedOut, if it is."""
        if self._cancelled.is_set() or not self.left:
            raise self.stopped()

    def stopped(self) -> LLMCodecError:
        """Why the job was not done."""
        if self._cancelled.is_set():
            return Cancelled("cancelled")
        return TimedOut(f"not done within {self.seconds:g} s; ask for less, or again when the server is less busy")


def checkpoint(*_: object) -> None:
    """Between two pieces of work: raises Cancelled or TimedOut if nobody waits any more for what this thread does.

    Takes any arguments, so that it can be a hook of a network, called before each of its passes.
    """
    job: Job | None = getattr(_thread, "job", None)
    if job is not None:
        job.check()


class Pool:
    """`workers` threads; `queue` jobs wait, one more is Busy."""

    def __init__(self, workers: int, queue: int) -> None:
        self.workers, self.queue = workers, queue
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="llmcodec")
        self._lock = threading.Lock()
        self._jobs: set[Job] = set()

    @property
    def load(self) -> int:
        """Jobs that are worked on or wait."""
        return len(self._jobs)

    def run(self, job: Job, work: Callable[[], T]) -> T:
        """What `work` returns or raises, done by a worker. Raises Busy, Cancelled, TimedOut."""
        return self.result(job, self.submit(job, work))

    def submit(self, job: Job, work: Callable[[], T]) -> Future[T]:
        """Put a job into the queue, for `result` to wait for. Raises Busy."""
        with self._lock:
            if len(self._jobs) >= self.workers + self.queue:
                raise Busy(f"{self.workers} requests are worked on and {self.queue} wait; try again in a few seconds")
            job._future = future = self._threads.submit(self._work, job, work)
            self._jobs.add(job)
        future.add_done_callback(lambda _: self._leave(job))  # also when it is cancelled in the queue
        return future

    def result(self, job: Job, future: Future[T]) -> T:
        """Wait for a job. One that is being worked on when its time is up ends at its next check."""
        try:
            return future.result(job.left)
        except CancelledError:
            raise job.stopped() from None
        except TimeoutError:
            if future.cancel():  # it was in the queue until now
                raise job.stopped() from None
            return future.result()
        finally:
            del future  # it holds the error, whose traceback holds this frame, and all that was worked on

    def close(self) -> None:
        """Cancel all jobs and end the threads."""
        with self._lock:
            jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        self._threads.shutdown()

    def _work(self, job: Job, work: Callable[[], T]) -> T:
        _thread.job = job
        try:
            job.check()
            return work()
        finally:
            _thread.job = None
            self._leave(job)  # before anybody has the result, who may ask for more

    def _leave(self, job: Job) -> None:
        with self._lock:
            self._jobs.discard(job)
            job._future = None
