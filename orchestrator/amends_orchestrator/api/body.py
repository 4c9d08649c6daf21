"""Bodies as they come in: bounded while they are read, and strictly JSON.

What is refused here could not be stored or sent on: NaN and infinite numbers, lone surrogates,
U+0000, nesting without end.
"""

import json
import math
from typing import Any, Final, NoReturn

from starlette.requests import Request

from amends_contracts.messages import Json, holds_nul
from amends_contracts.names import BODY_BYTES_MAX
from amends_contracts.problems import ProblemType
from amends_orchestrator.api.problems import ApiProblem

DEFINITION_BYTES_MAX: Final = 1024 * 1024
DEPTH_MAX: Final = 64
JSON_TYPES: Final = ("application/json",)
DEFINITION_TYPES: Final = (
    "application/json",
    "application/yaml",
    "application/x-yaml",
    "text/yaml",
)


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text} is out of range")
    return number


def _depth(value: Json) -> int:
    """How deep a value nests, without recursion."""
    deepest, open_values = 0, [(value, 1)]
    while open_values:
        here, depth = open_values.pop()
        deepest = max(deepest, depth)
        if isinstance(here, dict):
            open_values.extend((v, depth + 1) for v in here.values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] # JSON is Any
        elif isinstance(here, list):
            open_values.extend((v, depth + 1) for v in here)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] # JSON is Any
    return deepest


def strict_json(body: bytes) -> Json:
    """The value of a JSON text; ValueError says what is wrong with it."""
    try:
        value: Json = json.loads(body, parse_constant=_not_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEPTH_MAX}") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX and _depth(value) > DEPTH_MAX:
        raise ValueError(f"nested deeper than {DEPTH_MAX}")
    if b"\\u" in body:
        if holds_nul(body):
            raise ValueError("holds U+0000, which no database keeps")
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("holds a lone surrogate, which is not text") from None
    return value


async def read_bounded(request: Request, bytes_max: int) -> bytes:
    """The body, refused with 413 as soon as it is known to be too long."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > bytes_max:
        raise _too_large(bytes_max)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > bytes_max:
            raise _too_large(bytes_max)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(bytes_max: int) -> ApiProblem:
    detail = f"The body is longer than {bytes_max // 1024} KiB."
    return ApiProblem(ProblemType.TOO_LARGE, detail, headers={"Connection": "close"})


def media_type(request: Request) -> str:
    """The content type without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


class StrictRequest(Request):
    """A request whose body is bounded and whose JSON is strict; the framework reads both here."""

    bytes_max: int = BODY_BYTES_MAX

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = await read_bounded(self, self.bytes_max)
        return self._body

    async def json(self) -> Any:
        try:
            return strict_json(await self.body())
        except ValueError as error:
            raise ApiProblem(
                ProblemType.BAD_REQUEST, f"The body is not valid JSON: {error}", status=400
            ) from None
