"""One module per family of error classes; each compares one side of two SELECTs."""
