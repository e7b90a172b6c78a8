"""A pool of one worker and a queue of one."""

import contextlib
import gc
import threading
import weakref

import pytest

from llmcodec.webapp.pool import Busy, Cancelled, Job, Pool, TimedOut, checkpoint

LONG = 600.0


class Work:
    """Begins, waits to be let go, checks whether it goes on, and returns 7."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.go.wait(LONG)
        checkpoint()
        return 7


@pytest.fixture
def pool():
    made = Pool(workers=1, queue=1)
    yield made
    made.close()


@pytest.fixture
def running(pool):
    """A job that the worker is at, its work and its future."""
    job, work = Job(LONG), Work()
    future = pool.submit(job, work)
    assert work.begun.wait(LONG)
    yield job, work, future
    work.go.set()


def test_results_and_errors_come_back(pool):
    assert pool.run(Job(LONG), lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        pool.run(Job(LONG), lambda: 1 // 0)
    assert pool.load == 0


def test_what_failed_work_held_is_let_go_at_once(pool):
    class Tensor:
        pass

    held = []

    def work():
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        raise ValueError

    gc.disable()
    try:
        job = Job(LONG)
        with contextlib.suppress(ValueError):
            pool.run(job, work)
        assert held[0]() is None
    finally:
        gc.enable()


def test_one_more_than_the_queue_holds_is_busy(pool, running):
    job, work, future = running
    waiting = Job(LONG)
    queued = pool.submit(waiting, lambda: 8)
    with pytest.raises(Busy, match="1 requests are worked on and 1 wait"):
        pool.submit(Job(LONG), lambda: 9)
    assert pool.load == 2
    work.go.set()
    assert pool.result(job, future) == 7 and pool.result(waiting, queued) == 8
    assert pool.run(Job(LONG), lambda: 9) == 9


def test_a_cancelled_job_leaves_the_queue_at_once(pool, running):
    waiting = Job(LONG)
    queued = pool.submit(waiting, lambda: pytest.fail("must not run"))
    waiting.cancel()
    assert pool.load == 1
    with pytest.raises(Cancelled):
        pool.result(waiting, queued)


def test_a_running_job_stops_at_its_next_check(pool, running):
    job, work, future = running
    job.cancel()
    work.go.set()
    with pytest.raises(Cancelled):
        pool.result(job, future)
    assert pool.load == 0


def test_a_job_cancelled_before_it_is_submitted_does_not_run(pool):
    job = Job(LONG)
    job.cancel()
    with pytest.raises(Cancelled):
        pool.run(job, lambda: pytest.fail("must not run"))


def test_the_time_may_be_up_in_the_queue(pool, running):
    waiting = Job(0)
    queued = pool.submit(waiting, lambda: pytest.fail("must not run"))
    with pytest.raises(TimedOut, match="not done within 0 s"):
        pool.result(waiting, queued)
    assert pool.load == 1


def test_the_time_may_be_up_at_a_check(pool, running):
    job, work, future = running
    job._ends = 0.0
    work.go.set()
    with pytest.raises(TimedOut):
        pool.result(job, future)


def test_a_check_outside_of_a_job_means_nothing():
    checkpoint("any", "argument")


def test_closing_cancels_all(pool, running):
    job, work, future = running
    queued = pool.submit(Job(LONG), lambda: pytest.fail("must not run"))
    closing = threading.Thread(target=pool.close)
    closing.start()
    with pytest.raises(Cancelled):
        while True:
            job.check()
    work.go.set()
    closing.join()
    assert queued.cancelled() and isinstance(future.exception(), Cancelled) and pool.load == 0
