"""Clients that work, each in a thread of its own, while a test does something to what serves them."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter

CLIENTS = 4


class Crowd(ABC):
    """Clients that work until they are told to end, and what they were told meanwhile."""

    def __init__(self) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self.work_as, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let the clients finish what they have begun."""
        self.over.set()
        for thread in self._threads:
            thread.join()

    @abstractmethod
    def work_as(self, number: int) -> None:
        """Do what the client of this number does, until it is over."""
