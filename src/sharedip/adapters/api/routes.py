"""What is behind which path.

Role: request → response, for the two listeners: control (unix socket, may change things) and public (TCP, read-only).
Must never: decide what an operation does, or let the public listener change anything.
Counterparts: `server.py` (who may ask), `agent/status.py`, `agent/operator.py`, `docs/commands.md`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from pathlib import Path

from sharedip.adapters.api.connection import HttpRequest, HttpResponse, json_response, text_response
from sharedip.adapters.api.metrics import CONTENT_TYPE
from sharedip.adapters.api.rendering import AGE_S_MAX, Renderings
from sharedip.adapters.api.watchers import Watchers

Operate = Callable[[str, dict[str, object]], Awaitable[tuple[bool, str]]]
Route = Callable[[HttpRequest], Awaitable[HttpResponse]]

OPERATION_S = 30.0
"""An operator waits no longer for an answer; a handover takes milliseconds, a reload a second."""
NODE_NAME_CHARACTERS_MAX = 253
_PLAIN = ("drain", "undrain", "reload", "restart")
"""Operations without arguments."""
_PAGE = Path(__file__).with_name("page.html")


class BadRequestError(Exception):
    """The request is malformed; the text says why."""


class Routes:
    """The table of one listener: path → method → route."""

    def __init__(self, table: dict[str, dict[str, Route]]) -> None:
        self._table = table

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """Find the route and take it. HEAD is GET without a body, which the connection sees to."""
        methods = self._table.get(request.path)
        if methods is None:
            return text_response(404, f"nothing is here; try {', '.join(sorted(self._table))}")
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            response = text_response(405, f"{request.path} takes {_methods(methods)} only")
            response.headers = ((b"Allow", _methods(methods).encode()),)
            return response
        try:
            return await route(request)
        except BadRequestError as error:
            return json_response(400, {"accepted": False, "text": str(error)})


def control_routes(renderings: Renderings, operate: Operate, watchers: Watchers) -> Routes:
    """Everything that the local operator may do. He sees what is, also right after what he did."""

    async def get_status(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, "application/json", await renderings.json.get(0.0))

    async def get_events(_: HttpRequest) -> HttpResponse:
        if watchers.full:
            return text_response(503, "too many watchers already")
        return HttpResponse(200, "application/x-ndjson", stream=watchers.stream())

    def operation(name: str, read: Callable[[dict[str, object]], dict[str, object]]) -> Route:
        async def post(request: HttpRequest) -> HttpResponse:
            arguments = read(_json_object(request.body))
            try:
                async with asyncio.timeout(OPERATION_S):
                    accepted, text = await operate(name, arguments)
            except TimeoutError:
                waited = f"no answer from the agent in {OPERATION_S:g} s; it may still happen: see `sharedip status`"
                return json_response(504, {"accepted": False, "text": waited})
            return json_response(200 if accepted else 409, {"accepted": accepted, "text": text})

        return post

    return Routes(
        {
            "/v1/status": {"GET": get_status},
            "/v1/events": {"GET": get_events},
            "/v1/move": {"POST": operation("move", _move_arguments)},
            **{f"/v1/{name}": {"POST": operation(name, _no_arguments)} for name in _PLAIN},
        }
    )


def public_routes(renderings: Renderings) -> Routes:
    """Everything that anybody may see, a moment old."""

    async def get_page(_: HttpRequest) -> HttpResponse:
        try:
            return page_response()
        except OSError as error:  # no descriptors left
            return text_response(503, f"the page can't be read: {error.strerror}")

    async def get_status(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, "application/json", await renderings.json.get(AGE_S_MAX))

    async def get_metrics(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, CONTENT_TYPE, await renderings.metrics.get(AGE_S_MAX))

    async def get_healthz(_: HttpRequest) -> HttpResponse:
        # That this line runs is the proof: the loop turns.
        return text_response(200, "ok")

    async def get_readyz(_: HttpRequest) -> HttpResponse:
        is_ready, said = await renderings.readiness.get(AGE_S_MAX)
        return text_response(200 if is_ready else 503, said)

    return Routes(
        {
            "/": {"GET": get_page},
            "/status.json": {"GET": get_status},
            "/metrics": {"GET": get_metrics},
            "/healthz": {"GET": get_healthz},
            "/readyz": {"GET": get_readyz},
        }
    )


def page_response() -> HttpResponse:
    """The status page. Read from disk each time: it is seldom asked for, and costs no memory in between."""
    page = _PAGE.read_bytes()
    # Only what the page itself brings may run: names that come from etcd can't become script.
    policy = "; ".join(
        [
            "default-src 'none'",
            "connect-src 'self'",
            *(
                f"{kind}-src {' '.join(_hashes(page, tag))}"
                for kind, tag in (("script", b"script"), ("style", b"style"))
            ),
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
    headers = ((b"Content-Security-Policy", policy.encode()),)
    return HttpResponse(200, "text/html; charset=utf-8", page, headers=headers)


def _hashes(page: bytes, tag: bytes) -> Iterable[str]:
    for content in re.findall(b"<%s>(.*?)</%s>" % (tag, tag), page, re.DOTALL):
        yield f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


def _methods(methods: Iterable[str]) -> str:
    return ", ".join([*methods, "HEAD"] if "GET" in methods else methods)


def _json_object(body: bytes) -> dict[str, object]:
    if not body.strip():
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(document, dict):
        raise BadRequestError("the body is not a JSON object")
    return document


def _no_arguments(document: dict[str, object]) -> dict[str, object]:
    if document:
        raise BadRequestError(f"unknown field {min(document)}: this takes none")
    return {}


def _move_arguments(document: dict[str, object]) -> dict[str, object]:
    if unknown := document.keys() - {"vip", "to"}:
        raise BadRequestError(f"unknown field {min(unknown)}: write vip and to")
    vip, to = document.get("vip"), document.get("to")
    if not isinstance(vip, str):
        raise BadRequestError("vip is missing: write the address to move")
    try:
        address = str(ip_address(vip))
    except ValueError:
        raise BadRequestError(f"{vip[:60]!r} is not an IP address") from None
    if to is not None and not (isinstance(to, str) and 0 < len(to) <= NODE_NAME_CHARACTERS_MAX):
        raise BadRequestError("to is not a node name")
    return {"vip": address, "to": to}
