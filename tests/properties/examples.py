"""How many examples are tried, and which.

The same few every time, so that a change is never refused for another change's bug. With PROPERTY_EXAMPLES=20, say,
there are twenty times as many, new ones each time: for looking for bugs.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("PROPERTY_EXAMPLES", "0"))


def examples(count: int, *, steps: int = 50) -> settings:
    """Return settings for `count` examples, of up to `steps` steps in a state machine."""
    return settings(
        max_examples=count * max(FACTOR, 1),
        stateful_step_count=steps,
        derandomize=not FACTOR,
        database=None,
        # Machines differ in speed, and the first example of many pays for all.
        deadline=None,
        # Examples share the application of their test on purpose: it is expensive to make, and holds no state.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        print_blob=True,
    )
