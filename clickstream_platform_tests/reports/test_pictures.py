"""Pictures: described for those who listen, coloured by name, and small as PNG."""

import json
import re
import struct
from datetime import date, timedelta

import polars as pl
import pytest
import vl_convert

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
            assert contrast >= 3, name


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


def test_names_past_the_colors_share_one() -> None:
    colors = pictures.rank_colors(["Direct", "Email", pictures.OTHER])
    assert colors == ["var(--c1)", "var(--c2)", "var(--rest)"]


def drawn(picture: pictures.Picture) -> str:
    """The picture as SVG."""
    return vl_convert.vegalite_to_svg(
        pictures.specification(picture, description="") | {"width": 600}
    )


def labels(picture: pictures.Picture) -> list[str]:
    """What stands in the picture."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawn(picture))


def by_day(days: int, **columns: list[int] | list[str]) -> pl.DataFrame:
    """A frame of so many days from 2 March 2026, a Monday."""
    first = date(2026, 3, 2)
    return pl.DataFrame({"day": [first + timedelta(days=n) for n in range(days)], **columns})


def test_one_day_is_seen() -> None:
    one, two = (
        drawn(pictures.sessions_by_day(by_day(days, sessions=[1] * days, people=[1] * days)))
        for days in (1, 2)
    )
    assert one.count('aria-roledescription="point"') == 2
    assert two.count('aria-roledescription="point"') == 0


def test_each_of_few_days_is_named() -> None:
    events = by_day(3, visitor_type=["People"] * 3, events=[1, 2, 3])
    assert {"2 Mar", "3 Mar", "4 Mar"} <= set(labels(pictures.events_by_day(events)))


def test_days_of_many_years_are_named_with_the_year() -> None:
    events = by_day(900, visitor_type=["People"] * 900, events=[1] * 900)
    assert "Jan 2027" in labels(pictures.events_by_day(events))


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_what_is_counted_has_whole_ticks(most: int) -> None:
    counted = by_day(30, sessions=[most] * 30, people=[1] * 30)
    lengths = pl.DataFrame({"band": ["one event", "10 s"], "sessions": [most, 0]})
    for picture in (pictures.sessions_by_day(counted), pictures.session_durations(lengths)):
        found = [text for text in labels(picture) if re.fullmatch(r"[0-9.]+[a-zA-Z]*", text)]
        assert len(found) >= 2
        assert all(text.isdigit() for text in found)


@pytest.mark.parametrize(
    ("most", "written"), [(2_000_000, {"0", "1M", "2M"}), (4_000_000_000, {"0", "2bn", "4bn"})]
)
def test_units_of_an_axis_are_those_that_people_know(most: int, written: set[str]) -> None:
    events = by_day(1, visitor_type=["People"], events=[most])
    assert written <= set(labels(pictures.events_by_day(events)))


def test_share_of_a_conversion_is_no_million() -> None:
    earned = pl.DataFrame(
        {"model": ["linear"], "channel": ["Email"], "conversions": [0.4], "revenue": [0.4]}
    )
    found = labels(pictures.channel_credits(earned, "linear", "EUR"))
    assert "0.2" in found
    assert not [text for text in found if re.fullmatch(r"[0-9.]+m", text)]


def test_week_is_drawn_whole() -> None:
    hours = pl.DataFrame({"weekday": [1], "hour": [6], "sessions": [1]})
    assert set(pictures.WEEKDAYS) <= set(labels(pictures.sessions_by_hour(hours)))


def test_titles_of_axes_have_a_color_of_the_page() -> None:
    sizes = pl.DataFrame({"identifiers": ["2"], "people": [3]})
    title = re.search(r"<text[^>]*>Identifiers</text>", drawn(pictures.cluster_sizes(sizes)))
    assert title is not None
    assert "var(--muted)" in title[0]


def test_name_that_looks_like_a_color_stays_a_name() -> None:
    segments = pl.DataFrame(
        {"segment": ["var(--mine)"], "members": [1], "joined": [0], "departed": [0]}
    ).with_columns(owner=pl.lit("growth"), purpose=pl.lit("marketing"))
    assert pictures.png(pictures.segments(segments), title="Segments").startswith(b"\x89PNG")


def test_waterfall_ends_where_its_steps_lead_and_names_what_is_unknown() -> None:
    # -8 bits before, +5 by the network, nothing by the unknown language, -1 by the hour: -4.
    pair = {"left_id": "v1", "right_id": "v2", "match_weight": -4.0, "prior_weight": -8.0}
    pair |= {"weight_network": 5.0, "weight_language": 0.0, "weight_main_hour": -1.0}
    pair |= {"agrees_network": 1, "agrees_language": -1, "agrees_main_hour": 0}
    spec = pictures.specification(pictures.match_waterfall(pair), description="Why two match")
    (rows,) = spec["datasets"].values()
    assert [(row["step"], row["from_bits"], row["to_bits"]) for row in rows] == [
        ("before comparing", 0, -8),
        ("network", -8, -3),
        ("language (unknown)", -3, -3),
        ("main hour", -3, -4),
        ("together", 0, -4),
    ]
    assert "v1" not in json.dumps(spec), "a picture names nobody"


def test_picture_of_more_rows_than_a_notebook_would_hold_is_drawn() -> None:
    frame = pl.DataFrame(
        {"day": DAYS[:1], "source": ["shop"], "events": [1]},
    )
    many = pl.concat([frame] * 5_001)
    assert pictures.specification(pictures.late_by_day(many), description="")["height"] == 220


def test_name_with_a_line_separator_is_drawn_like_another() -> None:
    frame = pl.DataFrame({"segment": ["b\u2028c", "a"], "members": [2, 1]}).with_columns(
        joined=pl.lit(0), departed=pl.lit(0), owner=pl.lit("crm"), purpose=pl.lit("marketing")
    )
    said = labels(pictures.segments(frame))
    assert said.index("b\u2028c") < said.index("a")


def test_fewest_sessions_are_not_drawn_as_none() -> None:
    frame = pl.DataFrame({"weekday": [1, 2], "hour": [9, 9], "sessions": [96, 100]})
    faint, full = map(
        float,
        re.findall(r'rect mark[^>]* opacity="([\d.]+)"', drawn(pictures.sessions_by_hour(frame))),
    )
    assert (faint, full) == pytest.approx((0.96, 1), abs=0.01)


def test_rules_that_agree_hide_nothing_of_one_another() -> None:
    frame = pl.DataFrame(
        {"policy": ["ga4", "matomo"], "channel": ["Email"] * 2, "sessions": [1, 1]}
    ).with_columns(sessions_share=pl.lit(1.0), share_shift=pl.lit(0.1))
    places = re.findall(
        r'aria-roledescription="point" transform="translate\(([^)]*)\)',
        drawn(pictures.channel_shift(frame)),
    )
    assert len(set(places)) == 2


def test_sources_past_the_colors_are_folded() -> None:
    frame = pl.DataFrame(
        {
            "day": DAYS[:9],
            "source": [f"s{n}" for n in range(8)] + [pictures.OTHER],
            "events": [1] * 9,
        }
    )
    scale = pictures.specification(pictures.late_by_day(frame), description="")["encoding"][
        "color"
    ]["scale"]
    assert (scale["domain"][-1], scale["range"][-1]) == (pictures.OTHER, "var(--rest)")
