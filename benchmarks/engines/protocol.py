"""How `benchmarks.peers` talks to an engine in a process, and an environment, of its own.

One JSON object a line. The driver sends the work, then requests; the engine loads itself and
answers each request. Standard library only: the peers' environments have nothing of ours.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Request(NamedTuple):
    """Prompts to answer.

    Attributes:
      prompts: their texts, in the order of the split's file.
      db_ids: the schema of each.
      limits: tokens of the longest answer to each.
      forced: whether every answer has to be as long as its limit: nothing ends it earlier.
      stop_ids: tokens that end an answer, where it is not forced.
      stop_strings: strings that do.
    """

    prompts: list[str]
    db_ids: list[str]
    limits: list[int]
    forced: bool
    stop_ids: list[int]
    stop_strings: list[str]


# Answers a request: the texts and the number of tokens of each.
Answer = Callable[[Request], tuple[list[str], list[int]]]


def serve(load: Callable[[dict[str, Any]], Answer]) -> None:
    """Loads an engine for the work on the first line of stdin and answers the other lines.

    Args:
      load: takes the work (`weights`: path of the GGUF file, `batch_size`) and returns what
        answers requests.
    """
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no reply
    answer, seconds = _timed(load, json.loads(sys.stdin.readline()))
    _reply(replies, seconds=seconds)
    for line in sys.stdin:
        (texts, tokens), seconds = _timed(answer, Request(**json.loads(line)))
        _reply(replies, seconds=seconds, texts=texts, tokens=tokens)


def _timed(function: Callable[[Any], Any], argument: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    result = function(argument)
    return result, time.perf_counter() - start


def _reply(file: Any, **values: Any) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(values | {"peak_gib": peak}), file=file, flush=True)
