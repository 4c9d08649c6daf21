"""What travels between orchestrator and participants, and what a saga definition is. No IO."""
