"""Mirrors of the official Spider evaluator's parser, to agree with its verdicts."""
