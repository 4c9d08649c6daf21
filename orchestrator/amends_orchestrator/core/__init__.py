"""What the orchestrator decides, without IO, clock or chance."""
