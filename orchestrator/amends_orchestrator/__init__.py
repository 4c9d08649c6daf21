"""The saga orchestrator: a core that decides, and around it what makes decisions durable."""
