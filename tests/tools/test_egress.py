"""HTTP to where others point: public addresses only, looked at once, redirects too."""

from collections.abc import Mapping, Sequence

import httpx2
import pytest

from amends_participants.tools import Allow, Forbidden
from amends_participants.tools.egress import Egress

PUBLIC = "93.184.215.14"


class Names:
    """A resolver that says what it is told, and counts how often it was asked."""

    def __init__(self, names: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self.left = {name: list(answers) for name, answers in names.items()}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        return self.left[host].pop(0)


class World(httpx2.AsyncBaseTransport):
    """Everything out there: it remembers who was called, and redirects as it is told."""

    def __init__(self, redirects: Mapping[str, str]) -> None:
        self.called: list[tuple[str, str, object]] = []
        self.redirects = redirects

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.headers["host"]
        self.called.append((request.url.host, host, request.extensions.get("sni_hostname")))
        to = self.redirects.get(host)
        if to is None:
            return httpx2.Response(200, text="here")
        return httpx2.Response(302, headers={"location": to})


async def fetch(
    url: str,
    *,
    names: Mapping[str, Sequence[Sequence[str]]] | None = None,
    redirects: Mapping[str, str] | None = None,
    allow: Allow | None = None,
) -> World:
    """GET it through the egress; the world as it was called."""
    world = World(redirects or {})
    egress = Egress(allow or Allow(), resolved=Names(names or {}), inner=world)
    async with httpx2.AsyncClient(transport=egress, follow_redirects=True) as client:
        response = await client.get(url)
        assert response.text == "here"
    return world


async def test_a_name_is_resolved_once_and_its_address_is_called() -> None:
    """A second answer, which points inside, is never asked for; TLS and Host keep the name."""
    world = await fetch("https://shop.example/a", names={"shop.example": [[PUBLIC], ["10.0.0.1"]]})
    assert world.called == [(PUBLIC, "shop.example", "shop.example")]


INSIDE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "0.0.0.0", "224.0.0.1", "::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b:1::1",
    "64:ff9b::a00:1", "2002:a00:1::1", "2001:0:a00:1::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
async def test_what_is_not_public_is_refused(address: str) -> None:
    """Whether it is written, or what a name leads to, also beside a public one."""
    written = f"[{address}]" if ":" in address else address
    with pytest.raises(Forbidden, match="not a public address"):
        await fetch(f"https://{written}/")
    with pytest.raises(Forbidden, match="not a public address"):
        await fetch("https://shop.example/", names={"shop.example": [[PUBLIC, address]]})


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "017700000001"])
async def test_other_spellings_of_an_address_are_names(host: str) -> None:
    """And what they resolve to is looked at."""
    with pytest.raises(Forbidden, match=r"is 127\.0\.0\.1: not a public address"):
        await fetch(f"https://{host}/", names={host: [["127.0.0.1"]]})


async def test_a_redirect_is_looked_at_like_any_request() -> None:
    """Nothing is sent to where it must not go."""
    names = {"shop.example": [[PUBLIC]], "inside.example": [["10.0.0.1"]]}
    with pytest.raises(Forbidden, match=r"inside\.example is 10\.0\.0\.1"):
        await fetch(
            "https://shop.example/",
            names=names,
            redirects={"shop.example": "https://inside.example/"},
        )
    with pytest.raises(Forbidden, match="http is not allowed"):
        await fetch(
            "https://shop.example/",
            names={"shop.example": [[PUBLIC]]},
            redirects={"shop.example": "http://shop.example/"},
        )


async def test_a_redirect_to_a_public_place_is_followed() -> None:
    """By its own address."""
    world = await fetch(
        "https://a.example/",
        names={"a.example": [[PUBLIC]], "b.example": [["93.184.215.15"]]},
        redirects={"a.example": "https://b.example/x"},
    )
    assert [called[:2] for called in world.called] == [
        (PUBLIC, "a.example"),
        ("93.184.215.15", "b.example"),
    ]


async def test_what_is_allowed_may_be_reached() -> None:
    """Networks, hosts, and without TLS, each only where it was said."""
    inside = {"db.inside": [["10.1.0.5"]]}
    allow = Allow(private=["10.1.0.0/16"], plain=True, hosts=["*.inside"])
    await fetch("http://db.inside/", names=inside, allow=allow)
    with pytest.raises(Forbidden, match="not a public address"):
        await fetch("http://db.inside/", names={"db.inside": [["10.2.0.5"]]}, allow=allow)
    with pytest.raises(Forbidden, match="not among the hosts"):
        await fetch("http://shop.example/", allow=allow)


async def test_a_name_that_leads_nowhere_is_an_error_of_the_connection() -> None:
    """As without us."""
    with pytest.raises(httpx2.ConnectError, match=r"shop\.example has no address"):
        await fetch("https://shop.example/", names={"shop.example": [[]]})
