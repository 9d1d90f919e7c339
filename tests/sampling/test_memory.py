"""How many slots fit a device's memory, and what is told where a batch does not."""

import functools

import pytest
import tiny

from t2sql import errors
from t2sql.sampling import memory

pytestmark = pytest.mark.usefixtures("quick_compile")


@pytest.fixture(scope="module")
def make():
    params = tiny.make_params()
    return functools.cache(lambda batch_size: tiny.make_sampler(params, batch_size=batch_size))


@pytest.fixture(scope="module")
def groups():
    return [tiny.group(tiny.texts(40))]


def test_what_is_needed_grows_with_the_slots_and_the_weights_stay(make, groups):
    few, many = (memory.needs(make(rows), groups, 1 << 30) for rows in (2, 32))
    assert few.weights == many.weights
    assert few.cache < many.cache and few.working <= many.working


def test_a_batch_is_as_large_as_there_is_memory_for(make, groups):
    mesh, needed = tiny.make_mesh(), memory.needs(make(16), groups, 1 << 30)
    fitting = memory.fit(make, groups, mesh=mesh, memory=needed.total)
    assert 8 <= fitting.batch_size <= 16
    assert memory.needs(fitting, groups, 1 << 30).total <= needed.total


def test_a_batch_is_never_larger_than_there_are_questions(make, groups):
    few = [tiny.group(tiny.texts(6))]
    assert memory.fit(make, few, mesh=tiny.make_mesh(), memory=1 << 40).batch_size == 6
    assert memory.fit(make, groups, mesh=tiny.make_mesh(), memory=None).batch_size == 32


def test_a_batch_that_does_not_fit_is_told_with_what_to_set(make, groups):
    with pytest.raises(errors.InputError, match=r"batch_size: 8 questions .*weights.*'auto'"):
        memory.check(make(8), groups, 1000)
    with pytest.raises(errors.InputError, match="model.parallel"):
        memory.fit(make, groups, mesh=tiny.make_mesh(), memory=1000)
