"""The broker: RabbitMQ (`amqp`) and a twin in this process (`memory`).

Both implement `engine.ports.Transport` and are held to it by tests/conformance/test_transport.py.
"""
