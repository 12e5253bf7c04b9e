"""How many workers hash a password at once: half of them, and no worker waits for one that hangs."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# So many processes, forked from one as workers are, which hash so often for so long; prints when each began and ended.
SCRIPT = """
import json, os, sys, time
from app import passwords
count, workers, times, seconds = json.loads(sys.argv[1])
passwords.prepare_turns(None)
reader, writer = os.pipe()
for slot in range(count):
    if os.fork() == 0:
        passwords.hash_in_turn(slot, workers)
        def hashing():
            began = time.monotonic()
            time.sleep(seconds[slot])
            return began, time.monotonic()
        # They begin one after the other, so that it is known who has the turn.
        time.sleep(0.1 * slot)
        for _ in range(times):
            os.write(writer, json.dumps([slot, *passwords._hashing.run(hashing)]).encode() + b"\\n")
        os._exit(0)
os.close(writer)
for _ in range(count):
    os.wait()
sys.stdout.write(os.read(reader, 65_536).decode())
"""


def spans(count: int, workers: int, times: int, seconds: list[float]) -> list[tuple[int, float, float]]:
    """Return slot, beginning and end of each hash, in order of the beginnings."""
    arguments = json.dumps([count, workers, times, seconds])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, arguments], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    return sorted((tuple(json.loads(line)) for line in done.stdout.splitlines()), key=lambda span: span[1])


def at_once(found: list[tuple[int, float, float]]) -> int:
    """How many of these there were at most at one time."""
    return max(sum(began <= moment < ended for _, began, ended in found) for _, moment, _ in found)


def test_two_workers_hash_one_after_the_other() -> None:
    found = spans(2, 2, 5, [0.02, 0.02])
    assert len(found) == 10
    assert at_once(found) == 1
    assert {slot for slot, _, _ in found} == {0, 1}


def test_half_of_four_workers_hash_at_once() -> None:
    found = spans(4, 4, 4, [0.1] * 4)
    assert len(found) == 16
    assert at_once(found) == 2


def test_a_worker_that_hangs_keeps_its_turn_and_holds_up_nobody_for_long() -> None:
    (first, first_began, first_ended), (second, began, ended) = spans(2, 2, 1, [2.0, 0.0])
    assert (first, second) == (0, 1)
    assert 0.4 < began - first_began < 1.8
    assert ended < first_ended


# Memory as the system sees it, in megabytes: after a hash, a moment later, after the pause, and after one more hash.
MEMORY = """
import json, resource, time
from app import heap, passwords

trim = heap.trim

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

def settled():
    passwords._hashing.run(time.sleep, 0.01)
    return resident()

# As before the fork.
passwords.warm_up()
found = []
for _ in range(2):
    encoded = passwords.hash_password("seven tall lamps")
    found.append(resident())
    passwords.rest()
    found.append(settled())
    passwords._hashing._hashed_at -= passwords.IDLE_SECONDS
    passwords.rest()
    found.append(settled())
    # Once, not at each turn of the main loop.
    heap.trim = lambda: found.append("again")
    passwords.rest()
    settled()
    heap.trim = trim
    assert passwords.verify_password("seven tall lamps", encoded)
    found.append(resident())
print(json.dumps(found))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps the memory")
def test_the_memory_of_a_hash_is_given_back_when_no_other_comes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    found = json.loads(done.stdout)
    for after, at_once, rested, again in (found[:4], found[4:]):
        assert abs(at_once - after) < 2
        assert 18 < after - rested < 22
        assert abs(again - after) < 2
