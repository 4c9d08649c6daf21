"""Schema migrations of the orchestrator's tables."""
