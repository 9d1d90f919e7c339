"""Reading data in the Spider layout: examples, schemas, databases, prompts."""
