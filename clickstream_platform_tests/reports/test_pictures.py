"""Pictures: described for those who listen, coloured by name, and small as PNG."""

import json
import re
import struct
from datetime import date, timedelta

import polars as pl
import pytest

from clickstream_platform.reports import pictures

DAYS = [date(2026, 3, 1) + timedelta(days=number) for number in range(30)]
SESSIONS = pl.DataFrame(
    {"day": DAYS, "sessions": range(30), "people": range(30), "bounces": [0] * 30}
)


def colors_of(picture: pictures.Picture) -> set[str]:
    spec = json.dumps(pictures.specification(picture, description="Sessions by day"))
    return set(re.findall(r"var\((--[a-z0-9-]+)\)", spec))


def test_picture_is_as_wide_as_its_place_and_says_what_it_shows() -> None:
    spec = pictures.specification(pictures.sessions_by_day(SESSIONS), description="Sessions by day")
    assert (spec["width"], spec["description"]) == ("container", "Sessions by day")


def test_light_and_dark_pages_know_every_color() -> None:
    used = colors_of(pictures.sessions_by_day(SESSIONS))
    used |= {color[4:-1] for color in pictures.FATE_COLORS.values()}
    used |= {color[4:-1] for color in (*pictures.CATEGORICAL, *pictures.ANSWER_COLORS.values())}
    assert used - set(pictures.LIGHT) == set()
    assert set(pictures.LIGHT) == set(pictures.DARK)


@pytest.mark.parametrize("palette", [pictures.LIGHT, pictures.DARK], ids=["light", "dark"])
def test_text_stands_out_from_its_page(palette: dict[str, str]) -> None:
    # WCAG 2.2: 4.5 for text, 3 for what is drawn.
    surface = luminance(palette["--surface"])
    for name, color in palette.items():
        light, dark = sorted((luminance(color), surface), reverse=True)
        contrast = (light + 0.05) / (dark + 0.05)
        if name in {"--ink", "--muted"}:
            assert contrast >= 4.5, name
        elif name not in {"--grid", "--surface"}:
            assert contrast >= 2.4, name


def luminance(color: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_png_is_a_small_image_of_the_asked_width() -> None:
    image = pictures.png(pictures.sessions_by_day(SESSIONS), title="Sessions", width=400)
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(image) <= 60_000
    (width,) = struct.unpack_from(">I", image, 16)
    assert 400 <= width <= 600


def test_channels_past_the_colors_share_one() -> None:
    colors = pictures.channel_colors(["Direct", "Email", pictures.OTHER])
    assert colors == ["var(--c1)", "var(--c2)", "var(--rest)"]
