"""REST: how programs talk to the orchestrator over HTTP. `app.create_app` builds it."""
