"""Fixtures that tests of several packages share."""

import gc
import itertools
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gcs_server as gcs_server_lib
import hypothesis
import pytest

# A suite started in the background of a shell ignores SIGINT, and so would the commands under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests compile the same small programs over and over, in many processes (workers of pytest-xdist
# and commands under test inherit the environment).
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = tempfile.TemporaryDirectory(prefix="t2sql-test-programs-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

# Python's compiled modules they share too, where PYTHONDONTWRITEBYTECODE keeps them from lying
# beside the sources: else every process would compile every module anew. The folder in the
# environment stays: to compile JAX and gemma takes ten seconds.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(Path(sys.prefix) / "test-modules")
    sys.dont_write_bytecode = False

# As t2sql.runtime.cli does for commands: what JAX traces stays.
gc.set_threshold(100_000)

# A first call may compile or import; speed is measured in benchmarks/.
hypothesis.settings.register_profile("t2sql", deadline=None)
hypothesis.settings.load_profile("t2sql")

# Where the time of the tests without weights goes: commands from start to end, trainings, samplers
# that are compiled, and searches over much data. The rest takes minutes.
_SLOW = (
    "accelerators",
    "benchmarks/test_commands.py",
    "benchmarks/test_scale.py",
    "constraint/test_constraint.py::test_a_token_is_allowed_where_the_mask_has_it",
    "constraint/test_constraint.py::test_random_answers_are_queries_that_sqlite_prepares",
    "constraint/test_ends.py::test_every_query_over_spider",
    "constraint/test_foreign_keys.py::test_random_answers_join_along_keys",
    "constraint/test_random_schemas",
    "diagnosis/test_diagnose_hostile.py",
    "diagnosis/test_diagnose_mutations.py",
    "diagnosis/test_diagnose_rewrites.py",
    "evaluation/test_evaluate.py::test_gold_queries_of_train_are_evaluated_or_told",
    "evaluation/test_reasons.py::test_every_wrong_verdict_on_spider_has_a_reason",
    "report/test_page.py::test_above_ten_thousand_the_page_holds_a_sample",
    "runs/test_job_constrain.py",
    "runs/test_main.py",
    "runtime/test_distributed.py",
    "runtime/test_compilation_cache.py::test_a_second_run_finds_all_of_its_programs",
    "storage/test_gcs_faults.py::test_a_run_of_200_units_through_a_random_mix_of_faults",
    "launch",
    "model/test_export.py",
    "sampling/test_attention.py",
    "sampling/test_in_place_of_gemmas.py",
    "training/test_gold_sql.py::test_every_train_query_gives_the_same_result",
    "training/test_multihost",
    "training/test_loop",
    "training/test_packing.py::test_attention_in_chunks_is_gemmas",
    "training/test_packing.py::test_packed_loss_and_gradients",
    "training/test_sampled_softmax.py",
    "training/test_train_command",
    "sampling/test_constrained",
    "sampling/test_decode_kernel",
    "sampling/test_memory",
    "sampling/test_samples",
    "sampling/test_sampler",
    "constraint/test_reach",
)
_BUCKETS = itertools.count()


def pytest_collection_modifyitems(items) -> None:
    """Marks what is slow."""
    root = Path(__file__).parent
    for item in items:
        if f"{item.path.relative_to(root).as_posix()}::{item.name}".startswith(_SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _free_weights(request) -> Iterator[None]:
    """Frees what a test with the real weights leaves: samplers are in cycles, with gigabytes."""
    yield
    if request.node.get_closest_marker("weights"):
        gc.collect()


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[gcs_server_lib.GcsServer]:
    """A real object store on loopback for the whole session."""
    with gcs_server_lib.running() as server:
        yield server


@pytest.fixture
def bucket(gcs_server, monkeypatch) -> str:
    """The gs:// URL of a new bucket, which google-cloud-storage finds by the environment."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    return gcs_server.make_bucket(f"bucket-{next(_BUCKETS)}")


@pytest.fixture(scope="module")
def quick_compile() -> Iterator[None]:
    """XLA takes half the time for slower programs, for tests whose verdict no rounding decides."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def spider_root() -> Path:
    """Spider 1.0; a test that asks for it fails where it is not at hand."""
    root = os.environ.get("T2SQL_SPIDER_DIR")
    if not root:
        pytest.fail("set T2SQL_SPIDER_DIR to a directory with Spider 1.0 in its standard layout")
    return Path(root)
