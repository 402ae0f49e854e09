"""When a request that a server did not answer is tried again."""

import random

BASE_DELAY = 1.0  # seconds before the first retry; it doubles with each one
MAX_DELAY = 30.0

_JITTER = random.Random()  # of its own: no seeded stream elsewhere may notice


def retry_delay(failures: int) -> float:
    """Seconds to wait after that many failures: doubling, with jitter so that clients spread out."""
    return min(MAX_DELAY, BASE_DELAY * 2 ** (failures - 1)) * _JITTER.uniform(0.5, 1.5)
