"""The SDK for services that take part in sagas, and the client that starts them."""
