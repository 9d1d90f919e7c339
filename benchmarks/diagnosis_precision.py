"""How many findings of the diagnosis are right, by marks that people set.

    python -m benchmarks.diagnosis_precision --data=SPIDER_DIR --runs=runs/a,runs/b > cases.md
    python -m benchmarks.diagnosis_precision --data=SPIDER_DIR --runs=runs/a,runs/b \\
        --marks=benchmarks/diagnosis_marks_1.tsv,benchmarks/diagnosis_marks_2.tsv

The first prints wrong predictions with their findings, and how to mark them: predictions of the
runs, by turns, and gold queries of dev made wrong as models do it. A line of marks is
`case findings marks cause`: the case's name, the digest of its findings, a 1 or 0 for each finding
in order, and a 1 or 0 for the main cause. The second counts the marks of each file and those that
two files agree on; a case whose findings have changed since is named and left out.
"""

import hashlib
import itertools
import json
import pathlib
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import sqlglot
from absl import flags
from sqlglot import exp

from t2sql.data.read_schema import read_tables
from t2sql.diagnosis.diagnose import Finding, diagnose
from t2sql.evaluation.evaluate import evaluate_all
from t2sql.evaluation.sandbox.executor import Executor
from t2sql.evaluation.verdict import QueryPair
from t2sql.runtime import cli

_DATA = flags.DEFINE_string("data", None, "Spider directory.", required=True)
_RUNS = flags.DEFINE_list("runs", [], "Run directories whose wrong predictions are cases.")
_OF_RUNS = flags.DEFINE_integer("of_runs", 110, "How many of the runs.", lower_bound=0)
_MADE = flags.DEFINE_integer("made", 90, "How many made mistakes.", lower_bound=0)
_MARKS = flags.DEFINE_list("marks", [], "Files of marks to count; none to print the cases.")

RULE = """
Each case is a question, the right query (gold), a predicted query that is wrong, how the results
differ, and what the diagnosis says of it (findings). Mark without help, by reading.

*   A finding is **1** if what it says is true of the two queries, and is a fault of the prediction
    or a difference from gold that can change the result; **0** if it says something false, calls a
    difference what is only another way of writing, or would lead a reader to the wrong part of the
    query. In doubt: 0.
*   The cause is **1** if some finding names what mainly makes the result differ; else **0**.

For each case write one line: its number, a space, a 1 or 0 for each finding in order without
spaces (`-` where there is no finding), a space, and the cause. For example `17 1101 1`.
"""

Mistake = Callable[[exp.Select], str | None]
MISTAKES: dict[str, Mistake] = {}


class Case(NamedTuple):
    """A prediction to mark; its name holds a digest of both queries."""

    name: str
    db_id: str
    question: str
    gold: str
    predicted: str


def _mistake(function: Mistake) -> Mistake:
    MISTAKES[function.__name__] = function
    return function


def _sql(tree: exp.Expression) -> str:
    return tree.sql(dialect="sqlite")


def _select(tree: exp.Expression) -> exp.Select | None:
    return tree if isinstance(tree, exp.Select) else None


@_mistake
def or_as_union(tree):
    where = _select(tree) and tree.args.get("where")
    if where and isinstance(where.this, exp.Or):
        sides = [tree.copy() for _ in range(2)]
        sides[0].set("where", exp.Where(this=where.this.this.copy()))
        sides[1].set("where", exp.Where(this=where.this.expression.copy()))
        return " UNION ".join(map(_sql, sides))
    return None


@_mistake
def set_operation_as_condition(tree):
    if not isinstance(tree, exp.Intersect | exp.Except | exp.Union):
        return None
    wheres = [side.args.get("where") for side in (tree.this, tree.expression)]
    if not wheres[1]:
        return None
    condition = wheres[1].this.copy()
    if isinstance(tree, exp.Except):
        condition = exp.not_(condition)
    return _sql(tree.this.copy().where(condition))


@_mistake
def except_as_join(tree):
    if isinstance(tree, exp.Except) and (where := tree.expression.args.get("where")):
        right = tree.expression.copy()
        right.set("where", exp.Where(this=exp.not_(where.this.copy())))
        return _sql(right)
    return None


@_mistake
def groups_counted(tree):
    if _select(tree) and tree.args.get("group"):
        inner = tree.copy()
        inner.set("order", None)
        return f"SELECT COUNT(*) FROM ({_sql(inner)})"
    return None


@_mistake
def count_in_from(tree):
    having = _select(tree) and tree.args.get("having")
    numbers = list(having.find_all(exp.Literal)) if having else []
    if len(numbers) == 1 and numbers[0].is_int and having.find(exp.Count):
        items = ", ".join(_sql(item) for item in tree.expressions)
        if tree.find(exp.Subquery) or "(" in items or "." not in items + ".":
            return None
        inner = tree.copy()
        inner.set("having", None)
        inner.set("order", None)
        inner.set("limit", None)
        inner = inner.select("COUNT(*) AS n")
        names = ", ".join(item.alias_or_name for item in tree.expressions)
        return f"SELECT {names} FROM ({_sql(inner)}) WHERE n > {int(numbers[0].this) + 1}"
    return None


@_mistake
def join_as_membership(tree):
    joins = _select(tree) and tree.args.get("joins")
    if not joins or len(joins) != 1 or not isinstance(joins[0].args.get("on"), exp.EQ):
        return None
    first, second = tree.args["from_"].this, joins[0].this
    names = [table.alias_or_name for table in (first, second)]
    sides = {
        side.table: side for side in (joins[0].args["on"].this, joins[0].args["on"].expression)
    }
    if set(sides) != set(names) or tree.args.get("order"):
        return None
    for outer, inner in (names, names[::-1]):
        if all(c.table == outer for item in tree.expressions for c in item.find_all(exp.Column)):
            clauses = {k: _sql(v) for k in ("where", "having") if (v := tree.args.get(k))}
            if any(f"{outer}." in text for text in clauses.values()):
                continue
            tables = {t.alias_or_name: _sql(t) for t in (first, second)}
            having = clauses.get("having", "")
            group = f" GROUP BY {_sql(sides[inner])} {having}" if having else ""
            items = ", ".join(map(_sql, tree.expressions))
            where = clauses.get("where", "").replace("=", ">", 1)
            return (
                f"SELECT {items} FROM {tables[outer]} WHERE {_sql(sides[outer])} IN (SELECT"
                f" {_sql(sides[inner])} FROM {tables[inner]} {where}{group})"
            )
    return None


@_mistake
def first_as_least(tree):
    order, limit = (_select(tree) and tree.args.get(name) for name in ("order", "limit"))
    if not (order and limit) or tree.args.get("group") or tree.args.get("joins"):
        return None
    key = order.expressions[0].this
    function = "MIN" if order.expressions[0].args.get("desc") else "MAX"
    changed = tree.copy()
    changed.set("order", None)
    changed.set("limit", None)
    table = _sql(tree.args["from_"].this)
    return _sql(changed.where(f"{_sql(key)} = (SELECT {function}({_sql(key)}) FROM {table})"))


@_mistake
def filter_in_having(tree):
    if _select(tree) and tree.args.get("where") and tree.args.get("group"):
        changed = tree.copy()
        condition = changed.args["where"].this
        changed.set("where", None)
        return _sql(changed.having(condition))
    return None


@_mistake
def filter_as_case(tree):
    where = _select(tree) and tree.args.get("where")
    if where and len(tree.expressions) == 1 and isinstance(tree.expressions[0], exp.Count):
        changed = tree.copy()
        condition = _sql(changed.args["where"].this)
        changed.set("where", None)
        return _sql(changed.select(f"COUNT(CASE WHEN NOT ({condition}) THEN 1 END)", append=False))
    return None


@_mistake
def more_groups(tree):
    group = _select(tree) and tree.args.get("group")
    columns = [c for c in tree.find_all(exp.Column) if c not in group.expressions] if group else []
    return _sql(tree.group_by(columns[0])) if columns else None


@_mistake
def nulls_last(tree):
    order = tree.args.get("order")
    if order and not tree.args.get("limit"):
        text = _sql(tree)
        return f"{text} NULLS FIRST" if order.expressions[-1].args.get("desc") else None
    return None


@_mistake
def outer_join(tree):
    joins = _select(tree) and tree.args.get("joins")
    if joins and joins[0].args.get("on"):
        changed = tree.copy()
        changed.args["joins"][0].set("side", "LEFT")
        return _sql(changed)
    return None


@_mistake
def lower_case_and_one_more_column(tree):
    where = _select(tree) and tree.args.get("where")
    texts = [x for x in where.find_all(exp.Column, exp.Literal) if _is_text(x)] if where else []
    columns = list(where.find_all(exp.Column)) if where else []
    if texts and columns and columns[0] is not texts[0]:
        changed = _sql(tree.select(columns[0].copy()))
        return changed.replace(_sql(texts[0]), _sql(texts[0]).lower())
    return None


def _is_text(node: exp.Expression) -> bool:
    return node.is_string or (isinstance(node, exp.Column) and bool(node.this.args.get("quoted")))


@_mistake
def rows_of_one_table(tree):
    joins = _select(tree) and tree.args.get("joins")
    if joins:
        changed = tree.copy()
        changed.set("joins", None)
        return _sql(changed).replace("T2.", "T1.").replace("T3.", "T1.")
    return None


@_mistake
def other_direction(tree):
    order = _select(tree) and tree.args.get("order")
    if not order:
        return None
    changed = tree.copy()
    key = changed.args["order"].expressions[0]
    key.set("desc", not key.args.get("desc"))
    return _sql(changed)


@_mistake
def another_column(tree):
    columns = [item for item in tree.expressions if isinstance(item, exp.Column)]
    others = [c for c in tree.find_all(exp.Column) if _sql(c) not in map(_sql, tree.expressions)]
    if not _select(tree) or not columns or not others:
        return None
    items = [others[0].copy() if item is columns[-1] else item for item in tree.expressions]
    return _sql(tree.select(*items, append=False))


@_mistake
def and_for_or(tree):
    either = _select(tree) and tree.find(exp.Or)
    if not either:
        return None
    return _sql(tree.transform(lambda node: exp.And(**node.args) if node == either else node))


@_mistake
def one_bound_and_no_join(tree):
    between = _select(tree) and tree.find(exp.Between)
    if not between:
        return None
    bound = exp.GT(this=between.this.copy(), expression=between.args["high"].copy())
    return _sql(tree.transform(lambda node: bound if node == between else node))


@_mistake
def every_row_for_each(tree):
    counted = next(iter(tree.find_all(exp.Distinct)), None) if _select(tree) else None
    if not isinstance(counted and counted.parent, exp.Count):
        return None
    first = counted.expressions[0].copy()
    return _sql(tree.transform(lambda node: first if node == counted else node))


@_mistake
def equal_for_like(tree):
    like = _select(tree) and tree.find(exp.Like)
    if not like or not like.expression.name:
        return None
    plain = exp.EQ(this=like.this.copy(), expression=exp.Literal.string(like.expression.name))
    return _sql(tree.transform(lambda node: plain if node == like else node)).replace("%", "")


@_mistake
def value_of_all_rows(tree):
    inner = next(
        (s for s in tree.find_all(exp.Select) if s is not tree and s.args.get("where")), None
    )
    if not _select(tree) or inner is None:
        return None
    changed = inner.copy()
    changed.set("where", None)
    return _sql(tree.transform(lambda node: changed if node == inner else node))


@_mistake
def mean_of_another_and_first_row(tree):
    call = next(iter(tree.find_all(exp.Avg, exp.Sum, exp.Max, exp.Min)), None)
    if not _select(tree) or call is None or tree.args.get("limit"):
        return None
    other = exp.Sum if isinstance(call, exp.Avg) else exp.Avg
    changed = tree.transform(lambda node: other(this=node.this) if node == call else node)
    return _sql(changed.limit(1))


@_mistake
def groups_of_more(tree):
    having = _select(tree) and tree.args.get("having")
    numbers = [x for x in having.find_all(exp.Literal) if x.is_int] if having else []
    if not numbers:
        return None
    one_more = exp.Literal.number(int(numbers[0].this) + 1)
    return _sql(tree.transform(lambda node: one_more if node == numbers[0] else node).distinct())


@_mistake
def one_side_alone(tree):
    if isinstance(tree, exp.Intersect | exp.Except | exp.Union):
        return _sql(tree.expression)
    return None


@_mistake
def joined_by_names(tree):
    joins = _select(tree) and tree.args.get("joins")
    on = joins and joins[0].args.get("on")
    if not isinstance(on, exp.EQ):
        return None
    right = next((c for c in tree.find_all(exp.Column) if c.table != on.this.table), None)
    changed = tree.copy()
    changed.args["joins"][0].set("on", exp.EQ(this=on.this.copy(), expression=right.copy()))
    return _sql(changed) if right and right != on.expression else None


def cases(root: pathlib.Path) -> Iterator[Case]:
    """Yields predictions of the runs, by turns, then the made ones, the kinds by turns."""
    runs = [list(_of_run(number, run)) for number, run in enumerate(_RUNS.value)]
    for group in itertools.zip_longest(*runs):
        yield from filter(None, group)
    examples = json.loads((root / "dev.json").read_text())
    random.Random(2).shuffle(examples)
    pools = {name: iter(examples) for name in MISTAKES}
    seen = set()
    # Some are right all the same, or a kind has no more.
    for _ in range(2 * _MADE.value // len(MISTAKES)):
        for name, pool in pools.items():
            for example in pool:
                tree = sqlglot.parse_one(example["query"].strip().rstrip(";"), dialect="sqlite")
                predicted = MISTAKES[name](tree)
                if predicted and (name, example["query"]) not in seen:
                    seen.add((name, example["query"]))
                    yield _case(
                        name, example["db_id"], example["question"], example["query"], predicted
                    )
                    break


def _of_run(number: int, run: str) -> Iterator[Case]:
    """Yields the half of a run's predictions that was not looked at when code was mended."""
    rows = {}
    for path in sorted(pathlib.Path(run, "predictions").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            case = _case(f"run{number}", row["db_id"], row["question"], row["gold"], row["sql"])
            rows[case.name] = case
    yield from (rows[name] for name in sorted(rows) if _is_unseen(rows[name]))


def _is_unseen(case: Case) -> bool:
    return int(hashlib.sha256((case.gold + case.predicted).encode()).hexdigest(), 16) % 2 == 1


def _case(source: str, db_id: str, question: str, gold: str, predicted: str) -> Case:
    return Case(f"{source}/{_digest(gold + predicted)}", db_id, question, gold, predicted)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class WrongCase(NamedTuple):
    """A case that execution finds wrong, how the results differ, and the findings."""

    case: Case
    reason: str
    findings: list[Finding]


def wrong_cases(root: pathlib.Path) -> Iterator[WrongCase]:
    """Yields the cases that execution finds wrong, each once, as many as are asked for."""
    schemas = read_tables(root)
    left = {"run": _OF_RUNS.value, "made": _MADE.value}
    seen = set()
    candidates = list(cases(root))
    pairs = (
        QueryPair(
            gold=case.gold,
            predicted=case.predicted,
            databases=(root / "database" / case.db_id / f"{case.db_id}.sqlite",),
            schema=schemas[case.db_id],
        )
        for case in candidates
    )
    with Executor() as executor:
        for case, verdict in zip(candidates, evaluate_all(pairs, executor), strict=True):
            kind = "run" if case.name.startswith("run") else "made"
            digest = case.name.rpartition("/")[2]
            if verdict.execution or not left[kind] or digest in seen:
                continue
            left[kind] -= 1
            seen.add(digest)
            findings = diagnose(
                case.gold,
                case.predicted,
                schemas[case.db_id],
                execution=verdict.predicted_result,
            )
            yield WrongCase(case, verdict.reason.message, findings)


def main(argv) -> None:
    del argv
    root = pathlib.Path(_DATA.value)
    wrong = {wrong.case.name: wrong for wrong in wrong_cases(root)}
    if not _MARKS.value:
        _print_cases(root, list(wrong.values()))
        return
    marks = [_marks(pathlib.Path(name), wrong) for name in _MARKS.value]
    for name, marked in zip(_MARKS.value, marks, strict=True):
        print(f"{name}: {len(marked)} cases")
        for source in ("run", "made", ""):
            chosen = [mark for case, mark in marked.items() if _source(case).startswith(source)]
            _print_counts(source or "all", chosen)
    if len(marks) > 1:
        shared = [(marks[0][case], marks[1][case]) for case in marks[0] if case in marks[1]]
        bits = [pair for one, other in shared for pair in zip(one[0], other[0], strict=True)]
        both = sum(pair == ("1", "1") for pair in bits)
        same = sum(one == other for one, other in bits)
        print(f"both readers: findings right {both} of {len(bits)}; they agree on {same}")


def _source(name: str) -> str:
    return "run" if name.startswith("run") else "made"


def _print_counts(source: str, marks: list[tuple[str, str]]) -> None:
    bits = "".join(bits for bits, _ in marks)
    causes = [cause for _, cause in marks]
    right = f"findings right {bits.count('1')} of {len(bits)}"
    print(f"  {source:4}  {right}; main cause named in {causes.count('1')} of {len(causes)}")


def _print_cases(root: pathlib.Path, wrong: list[WrongCase]) -> None:
    """Prints all that a reader needs; what he needs not know, the cases' names, comes last."""
    print(RULE)
    for number, (case, reason, findings) in enumerate(wrong, start=1):
        print(f"\n## {number}. {case.question} ({case.db_id})\n")
        print(f"    gold       {case.gold}\n    predicted  {case.predicted}\n")
        print(f"Results: {reason}\n")
        for finding in findings:
            print(f"*   {finding.error}: {finding.message}")
    schemas = read_tables(root)
    print("\n# The schemas\n")
    for db_id in sorted({case.db_id for case, _, _ in wrong}):
        schema = schemas[db_id]
        print(f"{db_id}:")
        for table in schema.tables:
            print(f"    {table.name}({', '.join(column.name for column in table.columns)})")
        primary = ", ".join(f"{key.table}.{key.column}" for key in schema.primary_keys)
        print(f"    primary keys: {primary}")
        for source, target in schema.foreign_keys:
            ends = f"{source.table}.{source.column} -> {target.table}.{target.column}"
            print(f"    foreign key {ends}")
    print("\n# The names of the cases, to make lines of marks of\n")
    for number, (case, _, findings) in enumerate(wrong, start=1):
        print(f"{number}\t{case.name}\t{_of(findings)}")


def _marks(path: pathlib.Path, wrong: dict[str, WrongCase]) -> dict[str, tuple[str, str]]:
    """By case, its marks and whether the cause is named; names the cases that have changed."""
    marks, stale = {}, []
    for line in path.read_text().splitlines():
        name, digest, bits, cause = line.split("\t")
        if name not in wrong or _of(wrong[name].findings) != digest:
            stale.append(name)
        else:
            marks[name] = bits.replace("-", ""), cause
    if stale:
        print(f"{path}: {len(stale)} marks are of other findings: {' '.join(stale)}")
    return marks


def _of(findings: list[Finding]) -> str:
    return _digest("\n".join(f"{finding.error} {finding.message}" for finding in findings))


if __name__ == "__main__":
    cli.run(main)
