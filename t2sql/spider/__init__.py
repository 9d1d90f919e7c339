"""The data: Spider-layout examples, their schemas, and where both come from."""
