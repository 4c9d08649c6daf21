"""`amends conform`: plays the orchestrator against one service, and checks what the wire promises.

`script` is what a check can do and see, `checks_*` are the checks, all of it pure: a check is a
generator that says what to send and is told what was heard. `stage` does it over a broker.
"""
