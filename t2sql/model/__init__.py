"""Models: where weights come from and how they reach the devices."""
