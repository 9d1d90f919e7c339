"""How long the code under test computes."""

import gc
import time
from collections.abc import Callable


def seconds(function: Callable[[], object]) -> float:
    """CPU time of this thread alone, without collecting what other tests have left behind."""
    gc.disable()
    try:
        start = time.thread_time()
        function()
        return time.thread_time() - start
    finally:
        gc.enable()
