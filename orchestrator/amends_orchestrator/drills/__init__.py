"""Drills: a saga's own undo, proved against the participants that really run.

`matrix`, `scripts`, `oracle` and `verdict` are pure; `gateway`, `outside`, `runner`, `invariants`
and `record` do what they say.
"""
