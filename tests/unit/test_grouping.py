"""Groups and orders of tasks from tables of distances."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakemedia.core.errors import UserError
from fakemedia.core.plugin import configure
from fakemedia.similarity.grouping import GroupingConfig, group_tasks, hierarchy, symmetric

LINE = {"a": 0.0, "b": 1.0, "c": 10.0, "d": 13.0, "e": 30.0}


def table(places: dict[str, float]) -> pd.DataFrame:
    values = np.array(list(places.values()))
    return pd.DataFrame(np.abs(values[:, None] - values), index=list(places), columns=list(places))


def test_neighbours_come_together():
    grouping = group_tasks(table(LINE), GroupingConfig(n_groups=3))
    assert grouping.groups == (("a", "b"), ("c", "d"), ("e",))


def test_silhouette_chooses_the_number_of_groups():
    places = {"a": 0.0, "b": 1.0, "c": 50.0, "d": 51.0, "e": 100.0, "f": 101.0}
    grouping = group_tasks(table(places), GroupingConfig(n_groups="auto"))
    assert grouping.groups == (("a", "b"), ("c", "d"), ("e", "f"))
    # The nearest other group is 50.5 away on average for a and f, 49.5 for the others; the neighbour is 1 away.
    assert grouping.silhouette == pytest.approx(1 - (2 / 50.5 + 4 / 49.5) / 6)


@pytest.mark.parametrize(("n_groups", "size"), [(1, 5), (5, 1)])
def test_one_group_or_a_group_a_task_has_no_silhouette(n_groups, size):
    grouping = group_tasks(table(LINE), GroupingConfig(n_groups=n_groups))
    assert {len(group) for group in grouping.groups} == {size}
    assert grouping.silhouette is None


@pytest.mark.parametrize(("order", "expected"), [
    ("given", ("e", "c", "a", "d", "b")),
    ("similar_first", ("a", "b", "c", "d", "e")),
    ("dissimilar_first", ("a", "e", "b", "d", "c")),
    ("hardest_first", ("b", "a", "c", "d", "e")),
])
def test_orders_of_tasks(order, expected):
    distances = table({task: LINE[task] for task in "ecadb"})
    difficulty = {"a": 0.2, "b": 0.3, "c": 0.1, "d": 0.1, "e": 0.0}
    grouping = group_tasks(distances, GroupingConfig(n_groups=1, order=order), difficulty)
    assert grouping.groups == (expected,)
    alone = group_tasks(distances, GroupingConfig(n_groups=5, order=order), difficulty)
    assert alone.groups == tuple((task,) for task in expected)


def test_groups_are_ordered_like_tasks():
    distances = table(LINE)
    difficulty = {"a": 0.0, "b": 0.1, "c": 0.4, "d": 0.5, "e": 0.3}
    hardest = group_tasks(distances, GroupingConfig(n_groups=3, order="hardest_first"), difficulty)
    assert hardest.groups == (("d", "c"), ("e",), ("b", "a"))
    farthest = group_tasks(distances, GroupingConfig(n_groups=3, order="dissimilar_first"))
    assert farthest.groups == (("a", "b"), ("e",), ("c", "d"))


def test_random_orders_differ_by_seed_only():
    distances = table({f"t{i}": float(i) for i in range(8)})
    orders = [group_tasks(distances, GroupingConfig(n_groups=8, order="random", seed=seed)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


@settings(max_examples=20)
@given(st.integers(3, 7).flatmap(lambda count: st.tuples(
    st.lists(st.integers(0, 3), min_size=count * count, max_size=count * count),
    st.permutations(range(count)),
    st.sampled_from(["similar_first", "dissimilar_first", "hardest_first", "random"]),
    st.sampled_from(["auto", 1, 2, count]),
)))
def test_the_order_of_the_table_does_not_matter(case):
    values, permutation, order, n_groups = case
    count = len(permutation)
    tasks = [f"t{i}" for i in range(count)]
    matrix = np.array(values, float).reshape(count, count)
    np.fill_diagonal(matrix, 0)
    distances = pd.DataFrame(matrix, index=tasks, columns=tasks)
    config = GroupingConfig(n_groups=n_groups, order=order)
    difficulty = {task: values[i] for i, task in enumerate(tasks)}
    permuted = distances.iloc[permutation, permutation]
    grouping = group_tasks(distances, config, difficulty)
    assert grouping == group_tasks(permuted, config, difficulty)
    assert sorted(task for group in grouping.groups for task in group) == tasks
    if n_groups != "auto":
        assert len(grouping.groups) == n_groups


def test_hierarchy_of_a_table_that_is_not_symmetric():
    distances = pd.DataFrame([[0, 1.0, 4], [3, 0, 6], [8, 6, 0]], index=list("abc"), columns=list("abc"))
    np.testing.assert_allclose(hierarchy(symmetric(distances)), [[0, 1, 2, 2], [2, 3, 6, 3]])


@pytest.mark.parametrize(("distances", "config", "message"), [
    (table({"a": 0.0}), {}, "needs two tasks"),
    (table({"a": 0.0, "b": 1.0}), {}, "cannot choose the number of groups"),
    (table(LINE), {"n_groups": 6}, r"more groups \(6\) than tasks \(5\)"),
    (table({**LINE, "e": np.nan}), {}, "distance is nan"),
    (-table(LINE), {}, "distance is -1.0"),
    (table(LINE) + 1, {}, "distance to itself"),
    (table(LINE).iloc[:3], {}, "not square"),
    (table(LINE), {"order": "hardest_first"}, "difficulty of the task 'a' is not known"),
])
def test_bad_input(distances, config, message):
    with pytest.raises(UserError, match=message):
        group_tasks(distances, GroupingConfig(**config))


@pytest.mark.parametrize("given", [{"n_groups": 0}, {"n_groups": "some"}, {"order": "alphabetic"}, {"linkage": "ward"}])
def test_settings_that_do_not_fit(given):
    with pytest.raises(UserError):
        configure(GroupingConfig, given, where="sequences.demo.stages")
