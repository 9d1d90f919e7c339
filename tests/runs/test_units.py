"""The plan: nothing lost, one database a unit, and hosts that finish together."""

import collections
import dataclasses
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2sql.runs import units


@dataclasses.dataclass(frozen=True)
class Example:
    example_id: str
    db_id: str
    tokens: int


def _examples(spec):
    return [Example(f"dev/{i:04d}", db_id, tokens) for i, (db_id, tokens) in enumerate(spec)]


def _plan(examples, unit_size):
    return units.plan_units(examples, unit_size=unit_size, length=lambda example: example.tokens)


SPECS = st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 2000)), max_size=200)


@given(SPECS, st.integers(1, 64))
def test_every_example_is_in_one_unit_of_its_database(spec, unit_size):
    examples = _examples(spec)
    plan = _plan(examples, unit_size)
    planned = [example for unit in plan for example in unit.examples]
    assert sorted(planned, key=lambda example: example.example_id) == examples
    assert all(len({example.db_id for example in unit.examples}) == 1 for unit in plan)


@given(SPECS, st.integers(1, 64))
def test_sizes_within_a_database_are_few_and_even(spec, unit_size):
    sizes = collections.defaultdict(list)
    for unit in _plan(_examples(spec), unit_size):
        sizes[unit.examples[0].db_id].append(len(unit.examples))
    for db_sizes in sizes.values():
        assert max(db_sizes) <= unit_size
        assert max(db_sizes) - min(db_sizes) <= 1
        assert len(db_sizes) == -(-sum(db_sizes) // unit_size)


@pytest.mark.parametrize(("questions", "sizes"), [(52, [52]), (70, [35, 35]), (129, [43, 43, 43])])
def test_70_questions_are_two_halves_and_not_64_and_6(questions, sizes):
    plan = _plan(_examples([("db", 10)] * questions), 64)
    assert [len(unit.examples) for unit in plan] == sizes


@given(SPECS, st.integers(1, 64))
def test_a_unit_holds_similar_lengths(spec, unit_size):
    ranges = collections.defaultdict(list)
    for unit in _plan(_examples(spec), unit_size):
        tokens = [example.tokens for example in unit.examples]
        assert tokens == sorted(tokens)
        ranges[unit.examples[0].db_id].append((tokens[0], tokens[-1]))
    for spans in ranges.values():
        spans.sort()
        assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))


@given(SPECS, st.integers(1, 64), st.integers(1, 9))
def test_hosts_differ_by_no_more_than_the_first_unit(spec, unit_size, hosts):
    plan = _plan(_examples(spec), unit_size)
    costs = [unit.estimated_tokens for unit in plan]
    assert costs == sorted(costs, reverse=True)
    totals = [sum(costs[host::hosts]) for host in range(hosts)]
    assert max(totals) - min(totals) <= max(costs, default=0)


def test_the_plan_is_numbered_in_its_order_and_repeats():
    spec = [(random.Random(i).choice("abc"), i % 37) for i in range(500)]
    plan = _plan(_examples(spec), 16)
    assert [unit.index for unit in plan] == list(range(len(plan)))
    assert {unit.count for unit in plan} == {len(plan)}
    assert plan == _plan(_examples(spec), 16)
    assert units.plan_digest(plan) == units.plan_digest(_plan(_examples(spec), 16))


def test_the_digest_tells_which_example_lies_where():
    spec = [("a", 5)] * 20
    plan = _plan(_examples(spec), 10)
    longer = units.plan_units(
        _examples(spec), unit_size=10, length=lambda example: -int(example.example_id[-2:])
    )
    assert units.plan_digest(plan) != units.plan_digest(longer)
    assert units.plan_digest(plan) != units.plan_digest(_plan(_examples(spec), 5))


def test_names_sort_as_numbers_do_beyond_five_digits():
    assert units.unit_name(12, 40) == "predictions/unit-00012-of-00040.jsonl"
    assert units.unit_name(12, 250_000) == "predictions/unit-000012-of-250000.jsonl"
    assert units.is_unit_name(units.unit_name(12, 250_000))
    assert not units.is_unit_name("predictions/notes.txt")
    assert not units.is_unit_name("predictions/unit-00012-of-00040.jsonl.bak")


@pytest.mark.parametrize("count", [0, 1, 1000, 1001, 20_000, 123_456])
def test_prefixes_for_listing_cover_each_name_once_a_page_at_most(count):
    prefixes = units.listing_prefixes(count)
    pages = collections.Counter()
    for index in range(count):
        name = units.unit_name(index, count)
        starts = [prefix for prefix in prefixes[index // 1000 :][:1] if name.startswith(prefix)]
        pages.update(starts)
    assert pages.total() == count
    assert max(pages.values(), default=0) <= 1000
    assert len(set(prefixes)) == len(prefixes)
    assert not [p for p in prefixes for q in prefixes if p != q and q.startswith(p)]


def test_a_unit_size_below_one_is_refused():
    with pytest.raises(ValueError, match="unit_size is 0"):
        _plan([], 0)


@pytest.mark.slow
def test_a_million_mixed_examples_on_64_hosts_within_five_percent():
    chance = random.Random(0)
    schemas = {f"db{i}": chance.lognormvariate(5.5, 0.6) for i in range(2000)}
    popular = chance.choices(list(schemas), [1 / (i + 1) for i in range(2000)], k=1_000_000)
    examples = _examples(
        (db_id, int(schemas[db_id] + chance.lognormvariate(3.2, 0.5))) for db_id in popular
    )
    start = time.perf_counter()
    plan = _plan(examples, 64)
    seconds = time.perf_counter() - start
    totals = [sum(unit.estimated_tokens for unit in plan[host::64]) for host in range(64)]
    excess = max(totals) / (sum(totals) / 64) - 1
    print(f"{len(plan)} units in {seconds:.1f} s, slowest host {excess:.2%} over the mean")
    assert excess <= 0.05
