"""Diagnosis: what is wrong with a query, in the words of a reviewer."""
