"""Evaluates predictions, says what went wrong and shows it: `python -m t2sql.report`.

As a library: `t2sql.report.evaluate(predictions, gold, databases)`.
"""

from t2sql.report.library import evaluate

__all__ = ["evaluate"]
