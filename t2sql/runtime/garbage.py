"""Python's garbage collector, kept from stopping a run for long."""

import contextlib
import gc
from collections.abc import Iterator

# Collections of the middle generation for one of all objects; Python's default is 10.
_PER_FULL_COLLECTION = 10_000


@contextlib.contextmanager
def short_collections() -> Iterator[None]:
    """Keeps the collector from walking all that the process holds, again and again.

    A walk over the modules and the states of a few schemas takes 50 ms and more, in which a fast
    device could have decoded thousands of tokens. Objects without cycles are freed as ever.
    """
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*thresholds[:2], _PER_FULL_COLLECTION)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
