"""Benchmarks: each module measures one thing, for a bounded time, and answers JSON. Never tests.

A module has `run(seconds) -> dict`; `python -m benchmarks [NAME ...] [--seconds S]` runs them.
"""
