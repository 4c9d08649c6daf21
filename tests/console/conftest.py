"""A real browser over a real server, watched: no page may break its policy or ask a stranger."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from shutil import which
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

from amends_orchestrator.console.demo import DemoAction
from api.fakes import World, app_of, until

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Demo:
    """A demo's buttons."""

    def __init__(self) -> None:
        self.performed: list[str] = []

    def actions(self) -> Sequence[DemoAction]:
        """Two of them."""
        return [
            DemoAction(id="start", label="Start a saga"),
            DemoAction(id="fail-hotel", label="Fail the hotel", tone="break", hint="Sold out"),
        ]

    async def perform(self, action: str) -> str:
        """Remember it."""
        if action not in {"start", "fail-hotel"}:
            raise KeyError(action)
        self.performed.append(action)
        return f"Done: {action} <b>now</b>"


@dataclass
class Site:
    """A running console, and what the browser met on it."""

    url: str
    world: World
    demo: Demo
    page: Page
    wrong: list[str] = field(default_factory=list[str])
    """Console messages, script errors, requests to strangers."""

    async def open(self, path: str = "/console/") -> Page:
        """Go to a page."""
        await self.page.goto(self.url + path)
        return self.page


@asynccontextmanager
async def serving(app: Any) -> AsyncGenerator[str]:
    """The application on a free port of loopback."""
    config = uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await app.state.stop_waiting()
        server.should_exit = True
        await task


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncGenerator[Browser]:
    """The machine's Chromium."""
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(
            executable_path=_chromium(), args=list(FLAGS), chromium_sandbox=False
        )
        yield made
        await made.close()


def _chromium() -> str:
    return which("chromium") or which("google-chrome") or "chromium"


@pytest.fixture
def world() -> World:
    """An empty service without keys."""
    return World()


@pytest_asyncio.fixture(loop_scope="module")
async def site(world: World, browser: Browser) -> AsyncGenerator[Site]:
    """A console with a page open on nothing yet; fails the test for anything that went wrong."""
    demo = Demo()
    async with serving(app_of(world, demo=demo)) as url:
        page = await browser.new_page()
        made = Site(url, world, demo, page)
        _watch(page, made)
        yield made
        await page.close()
        assert made.wrong == []


def _watch(page: Page, site: Site) -> None:
    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            site.wrong.append(message.text)

    def on_error(error: Any) -> None:
        site.wrong.append(str(error))

    def on_request(request: Request) -> None:
        if urlsplit(request.url).hostname != "127.0.0.1":
            site.wrong.append(request.url)

    page.on("console", on_console)
    page.on("pageerror", on_error)
    page.on("request", on_request)
