"""Fine-tuning of Gemma on a Spider train split."""
