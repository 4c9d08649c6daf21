"""What a broker's URL says."""

import pytest

from amends_amqp import urls


def test_everything_that_a_url_can_say() -> None:
    """User, password and virtual host are unquoted; the rest has defaults."""
    assert urls.parse("amqp://us%40er:p%2Fw@broker:5673/my%2Fhost") == urls.BrokerUrl(
        host="broker",
        port=5673,
        vhost="my/host",
        user="us@er",
        password="p/w",
        external=False,
        tls=None,
    )
    assert urls.parse("amqp://broker") == urls.BrokerUrl(
        host="broker",
        port=5672,
        vhost="/",
        user="guest",
        password="guest",
        external=False,
        tls=None,
    )


def test_tls_verifies_unless_told_otherwise() -> None:
    """`amqps` has a port of its own, and checks certificate and name."""
    where = urls.parse("amqps://broker/?auth=external")
    assert (where.port, where.external) == (5671, True)
    assert where.tls is not None
    assert where.tls.check_hostname
    lax = urls.parse("amqps://broker/?no_verify_ssl=1").tls
    assert lax is not None
    assert not lax.check_hostname


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://broker", "amqp:// or amqps://"),
        ("amqp://broker/?auth=gssapi", "plain and external"),
    ],
)
def test_what_is_no_address_of_a_broker_is_refused(url: str, said: str) -> None:
    """With what it must be instead."""
    with pytest.raises(ValueError, match=said):
        urls.parse(url)


def test_a_password_is_not_shown() -> None:
    """Wherever the object is printed."""
    assert "s3cret" not in repr(urls.parse("amqp://user:s3cret@broker/"))
