"""The protocol as a TLA+ specification, and what has TLC check it: `make model`."""
