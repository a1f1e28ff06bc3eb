"""Refusals as problem documents (RFC 9457): what was expected, what came, what to do."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

TITLES = {
    400: "Malformed request",
    401: "Token missing or not valid",
    403: "Not yours",
    404: "No such resource",
    405: "Method not allowed",
    406: "Cannot answer in that form",
    408: "Request too slow",
    409: "Id used for another event",
    410: "Events are gone",
    413: "Too large",
    415: "Unknown content type",
    422: "Invalid event",
    429: "Too many streams",
    431: "Headers too large",
    500: "Fault in the relay",
    503: "Not available now",
}


class Problem(Exception):
    """A refusal that the client gets as a problem document with this status."""

    def __init__(
        self, status: int, detail: str, *, headers: dict[str, str] | None = None, title: str | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail.encode(errors="backslashreplace").decode()  # what came may not be text
        self.headers = headers or {}
        self.title = title or TITLES.get(status, "Refused")
        self.more = more

    def document(self) -> dict[str, Any]:
        """The problem document."""
        kind = self.title.lower().replace(" ", "-")
        return {
            "type": f"urn:meshrelay:problem:{kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.more,
        }

    def response(self) -> web.Response:
        """The HTTP response."""
        return web.Response(
            status=self.status,
            body=msgspec.json.encode(self.document()),
            content_type="application/problem+json",
            headers={"Cache-Control": "no-store", **self.headers},
        )


def unavailable(detail: str, retry_after_s: int = 1, **more: Any) -> Problem:
    """A 503 with Retry-After."""
    return Problem(503, detail, headers={"Retry-After": str(retry_after_s)}, **more)


def json_response(status: int, value: Any) -> web.Response:
    """A JSON answer that no cache keeps."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(value),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
