"""The loops that join core, store and transport; `orchestrator` is the door."""
