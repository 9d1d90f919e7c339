"""Text-to-SQL batch inference in the JAX ecosystem."""

__version__ = "0.1.0"
