"""How many findings of the diagnosis are right, by marks that people set.

    python -m benchmarks.diagnosis_precision --data=SPIDER_DIR --runs=runs/a,runs/b > cases.txt
    python -m benchmarks.diagnosis_precision --data=SPIDER_DIR --runs=runs/a,runs/b \
        --marks=benchmarks/diagnosis_marks_lenient.tsv,benchmarks/diagnosis_marks_strict.tsv

The first prints wrong predictions with their findings: those of the runs, and gold queries of dev
made wrong as models do it. A line of marks is `case findings marks`: the case's name, the digest of
its findings, and a 1 or 0 for each finding in order (is what it says true, and a fault or a
difference that matters?). The second counts the marks; a case whose findings have changed since is
named and left out.
"""

import hashlib
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
_MADE = flags.DEFINE_integer("made", 160, "How many made mistakes.", lower_bound=0)
_MARKS = flags.DEFINE_list("marks", [], "Files of marks to count; none to print the cases.")

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
def columns_as_one_text(tree):
    plain = _select(tree) and all(isinstance(item, exp.Column) for item in tree.expressions)
    if plain and len(tree.expressions) == 2 and not tree.find(exp.SetOperation):
        items = ' || " " || '.join(map(_sql, tree.expressions))
        changed = _sql(tree.select("xx", append=False))
        return changed.replace("xx", items, 1)
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
def words_after(tree):
    return f"{_sql(tree)} This query returns the rows that were asked for."


@_mistake
def latex_after(tree):
    return f"{_sql(tree)}\\end{{code}}"


@_mistake
def rows_of_one_table(tree):
    joins = _select(tree) and tree.args.get("joins")
    if joins:
        changed = tree.copy()
        changed.set("joins", None)
        return _sql(changed).replace("T2.", "T1.").replace("T3.", "T1.")
    return None


@_mistake
def table_made(tree):
    return f"CREATE TABLE answer AS {_sql(tree)}"


def cases(root: pathlib.Path) -> Iterator[Case]:
    """Yields predictions of the runs, then the made ones, the kinds by turns."""
    for number, run in enumerate(_RUNS.value):
        for path in sorted(pathlib.Path(run, "predictions").glob("*.jsonl")):
            for line in path.read_text().splitlines():
                row = json.loads(line)
                yield _case(f"run{number}", row["db_id"], row["question"], row["gold"], row["sql"])
    examples = json.loads((root / "dev.json").read_text())
    random.Random(1).shuffle(examples)
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


def _case(source: str, db_id: str, question: str, gold: str, predicted: str) -> Case:
    return Case(f"{source}/{_digest(gold + predicted)}", db_id, question, gold, predicted)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def wrong_cases(root: pathlib.Path) -> Iterator[tuple[Case, list[Finding]]]:
    """Yields the cases that execution finds wrong, at most `--made` of the made ones."""
    schemas = read_tables(root)
    made = 0
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
            if verdict.execution or (made == _MADE.value and not case.name.startswith("run")):
                continue
            made += not case.name.startswith("run")
            yield case, diagnose(case.gold, case.predicted, schemas[case.db_id])


def main(argv) -> None:
    del argv
    diagnosed = {
        case.name: (case, findings) for case, findings in wrong_cases(pathlib.Path(_DATA.value))
    }
    if not _MARKS.value:
        for case, findings in diagnosed.values():
            print(f"\n{case.name} {_of(findings)} {case.db_id}: {case.question}")
            print(f"  gold      {case.gold}\n  predicted {case.predicted}")
            for finding in findings:
                print(f"  - {finding.error}: {finding.message}")
        return
    files = [pathlib.Path(name).read_text().splitlines() for name in _MARKS.value]
    for name, lines in zip(_MARKS.value, files, strict=True):
        marks = dict(_marks(lines, diagnosed))
        bits = "".join(marks.values())
        print(f"{name}: {len(marks)} cases; findings right {bits.count('1')} of {len(bits)}")


def _marks(lines, diagnosed) -> Iterator[tuple[str, str]]:
    stale = []
    for line in lines:
        name, digest, bits = line.split("\t")
        if name not in diagnosed or _of(diagnosed[name][1]) != digest:
            stale.append(name)
        else:
            yield name, bits.replace("-", "")
    if stale:
        print(f"{len(stale)} marks are of other findings: {' '.join(stale)}")


def _of(findings: list[Finding]) -> str:
    return _digest("\n".join(f"{finding.error} {finding.message}" for finding in findings))


if __name__ == "__main__":
    cli.run(main)
