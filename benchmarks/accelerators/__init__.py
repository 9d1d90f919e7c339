"""The programs of a run, compiled for chips that need not be at hand, and what they cost there."""
