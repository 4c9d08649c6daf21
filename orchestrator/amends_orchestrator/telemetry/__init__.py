"""Traces of sagas over OTLP, and the metrics of the engine."""
