"""From a syntax tree to the description of the query, against a schema."""

from sqlglot import exp

from t2sql.data.schema import Schema
from t2sql.diagnosis import anti_joins, flatten_subqueries
from t2sql.diagnosis.core_reading import CoreReader
from t2sql.diagnosis.description import Query, SetOperation, cores
from t2sql.diagnosis.expressions import ExpressionReader
from t2sql.diagnosis.parsing import TooComplexError
from t2sql.diagnosis.scope import NameProblem, Scope
from t2sql.sql.names import fold

# A chain of CTEs, each used twice by the next, doubles with every link.
MAX_CORES = 100

# Folded name -> its definition; None while the definition itself is read.
Ctes = dict[str, exp.CTE | None]


class QueryReader:
    """Reads one statement.

    Attributes:
      schema: the schema that names are looked up in.
      sql: the statement's text, for how a name is quoted.
      likely: tables that it is expected to read: an invented one may stand for one of them.
      problems: the names that do not resolve.
    """

    def __init__(self, schema: Schema, sql: str, likely: tuple[str, ...] = ()):
        self.schema = schema
        self.sql = sql
        self.likely = likely
        self.problems: list[NameProblem] = []
        self._cores = 0

    def read(
        self, node: exp.Expression, parent: Scope | None = None, ctes: Ctes | None = None
    ) -> Query:
        """Describes a query.

        Args:
          node: the query's syntax tree.
          parent: the names that the SELECT around it sees.
          ctes: the common table expressions that it may read.

        Raises:
          TooComplexError: it expands into more SELECTs than are compared.
        """
        while isinstance(node, exp.Subquery | exp.Paren):
            node = node.this
        ctes = dict(ctes or {})
        if with_ := node.args.get("with_"):
            ctes |= {fold(cte.alias): cte for cte in with_.expressions}
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, parent, ctes)
        self._cores += 1
        if self._cores > MAX_CORES:
            raise TooComplexError(f"it expands into more than {MAX_CORES} SELECTs")
        core = anti_joins.without_anti_join(CoreReader(self, parent, ctes).read(node))
        return flatten_subqueries.merged(core, node)

    def expressions(self, scope: Scope, ctes: Ctes) -> ExpressionReader:
        """A reader for the expressions of a SELECT that sees `scope` and `ctes`."""
        return ExpressionReader(
            scope,
            self.problems,
            self.sql,
            self.schema,
            lambda node, scope: self.read(node, scope, ctes),
        )

    def _set_operation(
        self, node: exp.SetOperation, parent: Scope | None, ctes: Ctes
    ) -> SetOperation:
        operator = type(node).__name__.upper()
        if operator == "UNION" and not node.args.get("distinct"):
            operator = "UNION ALL"
        left, right = (self.read(side, parent, ctes) for side in (node.this, node.expression))
        first = cores(left)[0]
        scope = Scope(parent)
        scope.aliases = dict(zip(map(fold, first.names), first.items, strict=True))
        sorting = self.expressions(scope, ctes).sorting(node, first.items)
        return SetOperation(operator=operator, left=left, right=right, sorting=sorting)
