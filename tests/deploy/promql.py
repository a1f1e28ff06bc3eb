"""What a PromQL expression asks for: the metrics it names and the labels it goes by; nothing is evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser

GRAFANAS = {"$__rate_interval": "1m", "$__range": "1h"}
"""What Grafana puts into an expression, by what it may look like then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One metric of an expression, and the labels that its matchers and the aggregation around it name."""

    metric: str
    labels: frozenset[str]


def asked(expression: str) -> list[Asked]:
    """What an expression asks for. Raises ValueError if it does not parse."""
    return list(_below(promql_parser.parse(plain(expression)), frozenset()))


def plain(expression: str) -> str:
    """The expression with what Grafana fills in."""
    for variable, value in GRAFANAS.items():
        expression = re.sub(rf"{re.escape(variable)}\b", value, expression)
    return expression


def _below(node: Any, labels: frozenset[str]) -> Iterator[Asked]:
    if isinstance(node, promql_parser.VectorSelector):
        matched = frozenset(one.name for one in node.matchers.matchers)
        yield Asked(metric=node.name or "", labels=labels | matched)
    elif isinstance(node, promql_parser.MatrixSelector):
        yield from _below(node.vector_selector, labels)
    elif isinstance(node, promql_parser.AggregateExpr):
        by = frozenset(node.modifier.labels) if node.modifier is not None else frozenset[str]()
        yield from _below(node.expr, labels | by)
    elif isinstance(node, promql_parser.Call):
        for one in node.args:
            yield from _below(one, labels)
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from _below(node.lhs, labels)
        yield from _below(node.rhs, labels)
    elif isinstance(node, promql_parser.ParenExpr | promql_parser.UnaryExpr | promql_parser.SubqueryExpr):
        yield from _below(node.expr, labels)
    elif not isinstance(node, promql_parser.NumberLiteral | promql_parser.StringLiteral):
        raise ValueError(f"expected a kind of expression that is known here, got {type(node).__name__}")
