"""The interface as an OpenAPI 3.1 document; the fuzz test drives the relay from it."""

from __future__ import annotations

from typing import Any

from system.event import ID_LENGTH_MAX, SOURCE_LENGTH_MAX, TYPE_LENGTH_MAX

_CURSOR_PATTERN = "^[a-z0-9]{6}-(0|[1-9][0-9]{0,14})$"
_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "A CloudEvent 1.0 in JSON. `id` is the idempotency key, `subject` the receiving agent or `_all`.",
    "required": ["specversion", "id", "source", "type", "subject"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1, "maxLength": ID_LENGTH_MAX, "pattern": "^[!-~]+$"},
        "source": {"type": "string", "minLength": 1, "maxLength": SOURCE_LENGTH_MAX},
        "type": {"type": "string", "maxLength": TYPE_LENGTH_MAX, "pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)*$"},
        "subject": {"type": "string", "pattern": "^(_all|[A-Za-z0-9][A-Za-z0-9_-]{0,63})$"},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"type": "string"},
        "data": {},
    },
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(text: str, schema: str, media: str = "application/json") -> dict[str, Any]:
    return {"description": text, "content": {media: {"schema": _ref(schema)}}}


def _problems(*statuses: int) -> dict[str, Any]:
    texts = {
        400: "Malformed request, cursor or JSON; says what was expected",
        401: "Token missing, forged or expired",
        403: "The token is another agent's, or lacks the scope",
        406: "Neither text/event-stream nor application/json is accepted",
        408: "The body came too slowly",
        409: "The id belongs to an event with other content; nothing was stored under it",
        410: "Critical events after the cursor are gone, or the cursor is of another epoch or ahead: go on at `resync`",
        413: "Body or event too large",
        415: "Unknown content type",
        422: "Not a valid event; every problem is listed, nothing was published",
        429: "This agent has too many streams open, or pages under way; see Retry-After",
        503: "Not available now, refused by the stream, or outcome unknown; see Retry-After, retry with the same ids",
    }
    return {str(status): _answer(texts[status], "Problem", "application/problem+json") for status in statuses}


_AGENT = {
    "name": "agent",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"},
}
_STREAM_PARAMETERS = [
    _AGENT,
    {
        "name": "Last-Event-ID",
        "in": "header",
        "schema": {"type": "string"},
        "description": "The last id received; wins over `cursor`.",
    },
    {
        "name": "cursor",
        "in": "query",
        "schema": {"type": "string"},
        "description": "An id received, or earliest, now, acked. Without: the last ack, else the earliest retained.",
    },
    {"name": "types", "in": "query", "schema": {"type": "string"}, "description": "Only these types, comma separated."},
    {
        "name": "on_gone",
        "in": "query",
        "schema": {"enum": ["status", "event", "skip"]},
        "description": "How to hear that critical events are gone: 410, in the stream, or in the stream and go on.",
    },
    {
        "name": "told",
        "in": "query",
        "schema": {"type": "string"},
        "description": "The `head` of the last notice of loss, else of the page before: what was told by then is not "
        "told again; what has gone since is told, with `earliest`, too. Without it, a cursor of a former life of the "
        "stream is answered with wrong_epoch, even one that a page or a stream of what is left of it ended with.",
    },
    {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1000},
        "description": "Events a page (JSON only).",
    },
]


_BATCH = {"type": "array", "minItems": 1, "items": _ref("Event")}
_PUBLISH_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"anyOf": [_ref("Event"), _BATCH]}},
        "application/cloudevents+json": {"schema": _ref("Event")},
        "application/cloudevents-batch+json": {"schema": _BATCH},
    },
}
_STREAM_ANSWER = {
    "description": "The stream, or a page of it",
    "content": {
        "text/event-stream": {"schema": {"type": "string"}},
        "application/json": {"schema": _ref("Page")},
    },
}


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "meshrelay",
            "version": "1",
            "description": "Events for AI agents over SSE, with cursor replay. See README for the guarantees.",
        },
        "security": [{"token": []}],
        "paths": {
            "/v1/events": {
                "post": {
                    "operationId": "publish",
                    "summary": "Publish one event or a batch; answered once the stream has them",
                    "requestBody": _PUBLISH_BODY,
                    "responses": {
                        "202": _answer("Stored in the stream", "Published"),
                        **_problems(400, 401, 403, 408, 409, 413, 415, 422, 503),
                    },
                }
            },
            "/v1/agents/{agent}/events": {
                "get": {
                    "operationId": "stream",
                    "summary": "An agent's events: replay, then live",
                    "parameters": _STREAM_PARAMETERS,
                    "responses": {"200": _STREAM_ANSWER, **_problems(400, 401, 403, 406, 410, 429, 503)},
                }
            },
            "/v1/agents/{agent}/acks": {
                "post": {
                    "operationId": "acknowledge",
                    "summary": "Everything up to this cursor was handled",
                    "parameters": [_AGENT],
                    "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("Ack")}}},
                    "responses": {
                        "200": _answer("The highest acknowledged cursor", "Acked"),
                        **_problems(400, 401, 403, 408, 410, 413, 503),
                    },
                }
            },
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}, "schemas": _schemas()},
    }


def _schemas() -> dict[str, Any]:
    cursor = {"type": "string", "pattern": _CURSOR_PATTERN}

    def record(required: list[str], **properties: Any) -> dict[str, Any]:
        return {"type": "object", "required": required, "properties": properties}

    one = record(["id", "cursor", "duplicate"], id={"type": "string"}, cursor=cursor, duplicate={"type": "boolean"})
    notice = {"anyOf": [{"type": "object"}, {"type": "null"}]}
    return {
        "Event": _EVENT,
        "Published": record(["events"], events={"type": "array", "items": one}),
        "Ack": record(["cursor"], cursor=cursor),
        "Acked": record(["acked"], acked=cursor),
        "Page": record(
            ["events", "next", "head", "more", "gap", "gone"],
            events={"type": "array", "items": record(["cursor", "event"], cursor=cursor, event=_ref("Event"))},
            next=cursor,
            head=cursor,
            more={"type": "boolean"},
            gap=notice,
            gone=notice,
        ),
        "Problem": record(
            ["type", "title", "status", "detail"],
            type={"type": "string"},
            title={"type": "string"},
            status={"type": "integer"},
            detail={"type": "string"},
            reason={"enum": ["expired", "wrong_epoch", "ahead"]},
            resync={"type": "string"},
        ),
    }
