"""Clients that send requests in threads while a test stops or replaces servers."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter

CLIENTS = 4


class Crowd(ABC):
    """Clients that send requests until `end` is called, and the statuses of their responses."""

    def __init__(self) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self.work_as, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop the clients after their current requests."""
        self.over.set()
        for thread in self._threads:
            thread.join()

    @abstractmethod
    def work_as(self, number: int) -> None:
        """Send the requests of one client until `over` is set."""
