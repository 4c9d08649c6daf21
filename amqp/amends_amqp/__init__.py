"""The connection to RabbitMQ that orchestrators and participants share.

`wire` is bytes and messages, `connection` one connection with one channel, `link` what keeps such
a connection up for ever, `urls` what a broker's URL says. Which exchanges and queues there are,
and what becomes of a delivery, is for those who use it.
"""
