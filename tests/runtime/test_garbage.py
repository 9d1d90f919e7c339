"""Python's garbage collector, while answers are decoded."""

import gc

from t2sql.runtime import garbage


def test_long_lived_objects_are_not_walked_and_the_collector_is_as_before_after():
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
    with garbage.short_collections():
        assert gc.get_freeze_count() > frozen
        assert gc.get_threshold()[2] > thresholds[2]
    assert (gc.get_threshold(), gc.get_freeze_count()) == (thresholds, 0)
