"""Several answers to a question, and the one that is kept."""
