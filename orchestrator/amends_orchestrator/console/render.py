"""What the parts of the console get from it: a whole page around what they show."""

from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from amends_orchestrator.api.ports import Caller


class Render(Protocol):
    """A whole page."""

    def __call__(
        self, request: Request, template: str, caller: Caller | None, **context: Any
    ) -> Response: ...
