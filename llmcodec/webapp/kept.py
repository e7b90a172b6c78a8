"""The last few things made, so that the same is not made again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """At most `most` things, by what they were made of. Each is lent to one thread at a time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._things: dict[Hashable, T] = {}  # the last used last
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, key: Hashable, make: Callable[[], T]) -> Iterator[T]:
        """The thing of that key, made if it is not there, or is lent out. After an error it is not kept."""
        with self._lock:
            thing = self._things.pop(key, None)
        if thing is None:
            thing = make()
        yield thing
        with self._lock:
            self._things.pop(key, None)
            self._things[key] = thing
            while len(self._things) > self.most:
                del self._things[next(iter(self._things))]
