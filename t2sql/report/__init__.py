"""Evaluates predictions, says what went wrong and shows it: `python -m t2sql.report`."""
