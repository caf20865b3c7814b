"""What every picture looks like: colours, fonts, and how it becomes a page's or a PNG."""

import json
import re
import struct
import zlib
from typing import Any, TypeAlias

import altair as alt

LIGHT = {
    "--ink": "#1b2430",
    "--muted": "#5a6675",
    "--grid": "#e3e7ec",
    "--surface": "#ffffff",
    "--c1": "#2a69d6",
    "--c2": "#c97a14",
    "--c3": "#129a82",
    "--c4": "#b5489a",
    "--c5": "#7d5bd0",
    "--c6": "#c7502f",
    "--c7": "#4f86a8",
    "--c8": "#8a8f3c",
    "--rest": "#8a95a2",
    "--good": "#129a82",
    "--warn": "#c97a14",
    "--bad": "#c93a3a",
}
"""Colours of a light page; told apart by people who see few colours, and by lightness in print."""

DARK = {
    "--ink": "#e8edf3",
    "--muted": "#9eabba",
    "--grid": "#2c3642",
    "--surface": "#171e27",
    "--c1": "#6a9dff",
    "--c2": "#f2ad55",
    "--c3": "#3fc4aa",
    "--c4": "#dd7fc6",
    "--c5": "#a68bf0",
    "--c6": "#ee8465",
    "--c7": "#82b4d3",
    "--c8": "#bcc062",
    "--rest": "#6d7988",
    "--good": "#3fc4aa",
    "--warn": "#f2ad55",
    "--bad": "#f07474",
}
"""The same colours on a dark page."""

CATEGORICAL = [f"var(--c{number})" for number in range(1, 9)]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"

_PNG = b"\x89PNG\r\n\x1a\n"

Picture: TypeAlias = alt.TopLevelMixin
"""What is drawn: one chart, or layers of it."""


def specification(picture: Picture, *, description: str) -> dict[str, Any]:
    """The picture as Vega-Lite for a page: as wide as its place, described for those who listen."""
    spec = _drawn(picture)
    height = {} if "height" in spec else {"height": 220}
    about = {"width": "container", "description": description, "config": _config()}
    return spec | height | about


def png(picture: Picture, *, title: str, width: int = 560, height: int = 170) -> bytes:
    """The picture as a small PNG on white, for places that run no scripts."""
    import vl_convert  # noqa: PLC0415 - 50 MB that only pictures for the orchestrator need

    spec = _drawn(picture)
    size = {"width": width} | ({} if "height" in spec else {"height": height})
    text = json.dumps(spec | size | {"title": title, "background": "#ffffff", "config": _config()})
    colors = LIGHT | {"--on-accent": "#ffffff"}
    plain = re.sub(r"var\((--[a-z0-9-]+)\)", lambda found: colors.get(found[1], found[0]), text)
    return _packed(vl_convert.vegalite_to_png(plain, scale=1.25))


def _drawn(picture: Picture) -> dict[str, Any]:
    # Altair's limit of 5,000 rows is meant for notebooks; many sources over many days are more.
    with alt.data_transformers.disable_max_rows():
        drawn: dict[str, Any] = picture.to_dict()
    return drawn


def _packed(image: bytes) -> bytes:
    """The same PNG, its pixels compressed as far as zlib can: a quarter of the bytes."""
    chunks: list[tuple[bytes, bytes]] = []
    place = len(_PNG)
    while place < len(image):
        (length,) = struct.unpack_from(">I", image, place)
        kind, content = image[place + 4 : place + 8], image[place + 8 : place + 8 + length]
        chunks.append((kind, content))
        place += 12 + length
    pixels = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    packed = [
        *[chunk for chunk in chunks if chunk[0] not in {b"IDAT", b"IEND"}],
        (b"IDAT", zlib.compress(pixels, 9)),
        (b"IEND", b""),
    ]
    return _PNG + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in packed
    )


def _config() -> dict[str, Any]:
    axis = {
        "labelColor": "var(--muted)",
        "gridColor": "var(--grid)",
        "domainColor": "var(--grid)",
        "tickColor": "var(--grid)",
        "ticks": False,
        "labelPadding": 6,
        "labelFontSize": 12,
        "titleColor": "var(--muted)",
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": axis,
        "axisY": {"domain": False},
        "axisQuantitative": {"domain": False},
        "legend": {
            "labelColor": "var(--ink)",
            "labelFontSize": 12,
            "symbolStrokeWidth": 0,
            "offset": 8,
            "labelLimit": 180,
        },
        "text": {"color": "var(--ink)", "fontSize": 12},
        "title": {"anchor": "start", "color": "var(--ink)", "fontSize": 14, "offset": 10},
    }
