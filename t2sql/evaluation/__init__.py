"""Says how good predicted SQL is: cleans it, runs it, compares it with gold, diagnoses it."""
