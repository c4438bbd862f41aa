"""Quotes: as narrow as the request and the provider's defaults allow, and unknown rather than wrong."""

from __future__ import annotations

import datetime
import tomllib
from typing import Any

import pytest

from anymedia.capabilities.loader import parse_matrix
from anymedia.planning import BackendView, plan
from anymedia.policy import Policy
from anymedia.requests import GenerateImage

TODAY = datetime.date(2026, 11, 21)
_HEAD = """
schema = 1
checked = 2026-11-21
services = ["own"]
[[models]]
id = "pix"
media = "image"
lifecycle = { released = 2026-01-01, certainty = "firm", source = "s", checked = 2026-11-21 }
prices = [%s]
[models.generate_image]
n = { min = 1, max = 4, step = 1 }
size = { multiple_of = 16, max_edge = 4096, max_ratio = 3.0, pixels = [65536, 16777216], auto = true }
quality = { one_of = ["low", "high", "auto"]%s }
"""
_SOURCE = 'basis = "b", source = "s", checked = 2026-11-21'


def quote(*lines: str, default: str = "", **fields: Any) -> tuple[float, float] | None:
    prices = ", ".join(f"{{ {line}, {_SOURCE} }}" for line in lines)
    text = _HEAD % (prices, f', default = "{default}"' if default else "")
    view = BackendView(name="own", matrix=parse_matrix(tomllib.loads(text), "own.toml"), service="own")
    return plan(GenerateImage(prompt="a fox", **fields), [view], Policy(), TODAY).quote.usd


LOW, HIGH = 'per = "image", usd = 0.01, when = { quality = ["low"] }', 'per = "image", usd = 0.2, when = { quality = ["high"] }'
AUTO = 'per = "image", usd = [0.1, 0.2], when = { quality = ["auto"] }'


@pytest.mark.parametrize(
    ("lines", "default", "fields", "usd"),
    [
        ((LOW, HIGH), "", {}, (0.01, 0.2)),  # the provider chooses
        ((LOW, HIGH), "low", {}, (0.01, 0.01)),  # its default is documented
        ((LOW, HIGH), "auto", {}, (0.01, 0.2)),
        ((LOW, HIGH, AUTO), "auto", {}, (0.1, 0.2)),  # what auto does is documented
        ((LOW, HIGH), "low", {"quality": "auto"}, (0.01, 0.2)),
        ((LOW, HIGH), "", {"quality": "high"}, (0.2, 0.2)),
        ((LOW,), "", {"quality": "high"}, None),  # no price of another quality
        ((LOW,), "high", {}, None),
        (('per = "megapixel", usd = 0.1',), "", {"size": "1024x1024"}, (0.104858, 0.104858)),
        (('per = "megapixel", usd = 0.1',), "", {"size": "1024x1024", "n": 3}, (0.314573, 0.314573)),
        (('per = "megapixel", usd = 0.1, first = 0.3',), "", {"size": "512x512"}, (0.3, 0.3)),
        (('per = "megapixel", usd = 0.1, first = 0.3',), "", {"size": "1024x1024", "n": 2}, (0.609715, 0.609715)),
        (('per = "image", usd = 0.1, first = [0.2, 0.4]',), "", {"n": 3}, (0.4, 0.6)),
        (('per = "megapixel", usd = 0.1',), "", {}, None),  # whatever size the provider chooses
        (('per = "megapixel", usd = 0.1, usual = [1.0, 1.5]',), "", {}, (0.1, 0.15)),
        (('per = "megapixel", usd = 0.1, usual = [1.0, 1.5]',), "", {"size": "auto"}, (0.1, 0.15)),
        (('per = "image", usd = 0.05', 'per = "megapixel", usd = 0.1'), "", {"size": "2048x1024"}, (0.259715, 0.259715)),
    ],
)
def test_quote_follows_request_then_default_then_what_is_possible(
    lines: tuple[str, ...], default: str, fields: dict[str, Any], usd: tuple[float, float] | None
) -> None:
    assert quote(*lines, default=default, **fields) == usd
