"""SQL as text: its tokens, its names, and what a model wraps around it."""
