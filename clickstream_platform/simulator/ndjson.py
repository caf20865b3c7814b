"""Lines as canonical NDJSON, built from ready-made pieces, a column at a time."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from clickstream_platform.simulator import draws
from clickstream_platform.simulator.behaviour import (
    CATEGORY,
    Name,
    Page,
    order_hashes,
    revenues,
)
from clickstream_platform.simulator.draws import Hashes, Integers
from clickstream_platform.simulator.lines import Flaw
from clickstream_platform.simulator.visitors import NEVER
from clickstream_platform.simulator.visits import Records
from clickstream_platform.simulator.world import DAY_MS, SECOND_MS, World

LINES_AT_ONCE = 65_536
"""Lines that one thread turns into text at a time; about 50 MB."""

MARGIN_DAYS = 5
"""Days before and after the window that a wrong clock may show."""

PLACES = 64
"""Kinds of screens and scroll depths that are told apart."""

BAD_BYTE, PLACEHOLDER = b"\xff", "\x00"
"""Byte that no UTF-8 text holds, and the character that stands for it until the text is bytes."""

HEAD = np.dtype(
    [
        ("open", "S13"),
        ("event_id", "S16"),
        ("created", "S16"),
        ("created_at", "S24"),
        ("sent", "S13"),
        ("sent_at", "S24"),
        ("received", "S17"),
        ("received_at", "S24"),
        ("close", "S15"),
    ]
)
"""Front of a line: as wide in every line."""

KEYS = {
    "open": b'{"event_id":"',
    "created": b'","created_at":"',
    "sent": b'","sent_at":"',
    "received": b'","received_at":"',
    "close": b'","event_name":',
}
"""What stands in a line's front beside its values."""

INSTANT = np.dtype([("date", "S11"), ("time", "S8"), ("millisecond", "S5")])
"""An instant as text, RFC 3339 with milliseconds."""

HEX = np.array([f"{i:04x}".encode() for i in range(draws.LEVELS)], "S4")
TIMES = np.array([f"{i // 3600:02}:{i // 60 % 60:02}:{i % 60:02}".encode() for i in range(86_400)])
MILLISECONDS = np.array([f".{i:03}Z".encode() for i in range(SECOND_MS)])

EMPTY = pl.Series([""])
"""One empty text."""

BREAKS: dict[Flaw, tuple[str, str]] = {
    Flaw.NAME_OF_WRONG_TYPE: ('"event_name":"[a-z_]+"', '"event_name":{"is":17}'),
    Flaw.NAME_MISSING: ('"event_name":"[a-z_]+",', ""),
    Flaw.TIME_UNREADABLE: ('_at":"[^"]+"', '_at":"yesterday"'),
    Flaw.BAD_UTF8: ('"page_title":"', f'"page_title":"{PLACEHOLDER}'),
}
"""How a sound line is broken: what is replaced, and by what."""


class SenderPieces(NamedTuple):
    """Pieces of text that belong to visits."""

    senders: Records
    cut: Integers
    """Position of each visit among those that a campaign cuts."""
    fronts: pl.Series
    """Visitor, session, address and device of each visit."""
    users: pl.Series
    """User of each visit; then that of nobody."""
    queries: pl.Series
    """Query with which each visit lands; with which it is cut; those of searches; the empty one."""


class Writer:
    """Turns lines into text; holds the pieces that lines of one simulation are made of."""

    def __init__(self, world: World) -> None:
        self.world = world
        starts_at = world.simulation.starts_at
        self.dates = np.array(
            [
                f"{starts_at + timedelta(days=day):%Y-%m-%dT}".encode()
                for day in range(-MARGIN_DAYS, world.simulation.days + MARGIN_DAYS)
            ]
        )
        shop, pages = world.shop, pages_of(world)
        self.addresses = pl.Series([f'"page_url":"{escaped(address)}' for address, _ in pages])
        self.titles = pl.Series([f'","page_title":"{escaped(title)}"' for _, title in pages])
        outside = [f',"referrer_url":"{escaped(way.referrer or "")}"' for way in shop.traffic]
        inside = [f',"referrer_url":"{escaped(address)}"' for address, _ in pages]
        self.referrers = pl.Series([*reversed(outside), "", *inside])
        self.agents = pl.Series([escaped(agent) for agent in world.user_agents])
        self.countries = pl.Series(
            [
                f'"country":"{land.code}","language":"{escaped(language)}",'
                for land in shop.country
                for language in (land.language, shop.other_language)
            ]
        )
        self.currencies = pl.Series([country.currency for country in shop.country])
        self.consents = pl.Series(
            [
                *(
                    f'"consent":{choice.model_dump_json(exclude={"name", "share"})},'
                    for choice in shop.consent.choice
                ),
                "",
            ]
        )
        self.queries = pl.Series([escaped(way.query) for way in shop.traffic])
        self.has_click_id = np.array([way.click_id is not None for way in shop.traffic])
        terms = shop.items.search_terms
        self.searches = pl.Series([escaped(f"?q={term.replace(' ', '+')}") for term in terms])
        personal = shop.faults.personal_queries
        self.personal = pl.Series(
            ["", *(escaped(f"{mark}{query}") for mark in "?&" for query in personal)]
        )
        self.tails = pl.Series(tails_of(world))
        self.names = pl.Series([f'"{name.name.lower()}",' for name in Name])

    def text(self, by_sender: SenderPieces, lines: Records) -> list[bytes | memoryview]:
        """Write lines as NDJSON.

        Args:
            by_sender: What `pieces` made of the visits of the lines.
            lines: Records of `clickstream_platform.simulator.lines`, in order.

        Returns:
            The text, in parts that follow each other.
        """
        senders = by_sender.senders
        by = senders.take(lines["visit"])
        query, personal = self.query_pieces(by_sender, by, lines)
        is_signed_in = lines["index"] >= by["signed_in_from"]
        pieces = [
            self.heads(by, lines),
            self.names.gather(lines["name"]),
            by_sender.fronts.gather(lines["visit"]),
            by_sender.users.gather(np.where(is_signed_in, lines["visit"], len(senders))),
            self.consents.gather(self.consent_pieces(by, lines)),
            self.addresses.gather(lines["page"]),
            query,
            personal,
            self.titles.gather(lines["page"]),
            self.referrers.gather(lines["referrer"] + len(self.world.shop.traffic)),
            self.tail_pieces(senders, lines),
        ]
        return as_bytes(broken(joined(pieces), lines), lines["flaw"])

    def pieces(self, senders: Records) -> SenderPieces:
        """Make the pieces that all lines of a visit share."""
        user = numbers(senders["user"] + 1).str.zfill(5)
        users = joined([pl.lit('"user_id":"u-'), user, pl.lit('",')])
        is_cut = senders["cut_at"] < NEVER
        queries = [
            self.landing_queries(senders, "traffic"),
            self.landing_queries(senders.compress(is_cut), "second_traffic"),
            self.searches,
            EMPTY,
        ]
        return SenderPieces(
            senders,
            np.cumsum(is_cut) - 1,
            self.fronts(senders),
            pl.concat([users, EMPTY], rechunk=True),
            pl.concat(queries, rechunk=True),
        )

    def heads(self, by: Records, lines: Records) -> pl.Series:
        """Front of each line: its id and its instants."""
        heads = np.empty(len(lines), HEAD)
        for field, key in KEYS.items():
            heads[field] = key
        heads["event_id"] = hexadecimal(lines["hash"])
        heads["created_at"] = self.instants(lines["time_ms"] + by["clock_off_ms"])
        heads["sent_at"] = self.instants(lines["sent_ms"] + by["clock_off_ms"])
        heads["received_at"] = self.instants(lines["received_ms"])
        return texts(heads)

    def instants(self, milliseconds: Integers) -> NDArray[np.bytes_]:
        """Instants as text."""
        day, in_day = np.divmod(milliseconds, DAY_MS)
        second, millisecond = np.divmod(in_day, SECOND_MS)
        instants = np.empty(len(day), INSTANT)
        instants["date"] = self.dates[day + MARGIN_DAYS]
        instants["time"] = TIMES[second]
        instants["millisecond"] = MILLISECONDS[millisecond]
        return instants.view("S24")

    def fronts(self, senders: Records) -> pl.Series:
        """Visitor, session, address and device of each visit."""
        address = senders["address"]
        return joined(
            [
                pl.lit('"visitor_id":"v-'),
                texts(hexadecimal(senders["visitor"])),
                pl.lit('","session_id":"s-'),
                texts(hexadecimal(senders["hash"])),
                pl.lit(f'","app_id":"{escaped(self.world.shop.app_id)}","platform":"web",'),
                pl.lit('"collection_source":"client","ip_address":"100.'),
                numbers(64 + (address >> 16) % 64),
                pl.lit("."),
                numbers(address >> 8 & 255),
                pl.lit("."),
                numbers(address & 255),
                pl.lit('","user_agent":"'),
                self.agents.gather(senders["agent"]),
                pl.lit('",'),
                self.countries.gather(2 * senders["country"] + senders["speaks_other"]),
            ]
        )

    def landing_queries(self, senders: Records, way: str) -> pl.Series:
        """Query with which each visit lands, or with which a campaign cuts it."""
        clicks = texts(hexadecimal(draws.draws(senders["hash"], f"click of {way}")))
        has_click_id = self.has_click_id[senders[way]]
        click = np.where(has_click_id, np.arange(len(senders)), len(senders))
        clicks = pl.concat([clicks, EMPTY], rechunk=True).gather(click)
        return joined([self.queries.gather(senders[way]), clicks])

    def query_pieces(
        self, by_sender: SenderPieces, by: Records, lines: Records
    ) -> tuple[pl.Series, pl.Series]:
        """Query of each line's address, and what it says of a person."""
        pool, visits, terms = by_sender.queries, len(by_sender.senders), len(self.searches)
        term = (by["hash"] >> np.uint64(20)).astype(np.int64) + lines["index"]
        searched = np.where(lines["page"] == Page.SEARCH, term % terms, terms)
        which = np.where(lines["index"] == 0, lines["visit"], searched + len(pool) - terms - 1)
        cut = np.flatnonzero(lines["index"] == by["cut_at"])
        which[cut] = visits + by_sender.cut[lines["visit"][cut]]
        has_query = (pool.str.len_bytes() > 0).to_numpy()
        forms = len(self.world.shop.faults.personal_queries)
        is_personal = lines["personal"] > 0
        personal = np.where(is_personal, lines["personal"] + forms * has_query[which], 0)
        return pool.gather(which), self.personal.gather(personal)

    def consent_pieces(self, by: Records, lines: Records) -> Integers:
        """Consent of each line; unknown until the banner of the first page is answered."""
        is_asked = (lines["index"] > 0) | (by["ordinal"] > 0)
        unknown = len(self.consents) - 1
        return np.where(is_asked & (by["consent"] >= 0), by["consent"], unknown)

    def tail_pieces(self, senders: Records, lines: Records) -> pl.Series:
        """End of each line: product, order, engaged time, properties."""
        name = lines["name"]
        which = (lines["hash"] % np.uint64(PLACES)).astype(np.int64)
        shows_item = (name == Name.VIEW_ITEM) | (name == Name.ADD_TO_CART)
        which = np.where(shows_item, PLACES + lines["page"], which)
        pings, purchases = (np.flatnonzero(name == n) for n in (Name.PAGE_PING, Name.PURCHASE))
        which[pings] = len(self.tails) + np.arange(len(pings))
        which[purchases] = len(self.tails) + len(pings) + np.arange(len(purchases))
        engaged = numbers(lines["engaged_ms"][pings])
        of_pings = joined([pl.lit(',"engaged_time_ms":'), engaged, pl.lit("}\n")])
        of_purchases = self.purchase_pieces(senders, lines.take(purchases))
        return pl.concat([self.tails, of_pings, of_purchases], rechunk=True).gather(which)

    def purchase_pieces(self, senders: Records, purchases: Records) -> pl.Series:
        """End of the lines of purchases."""
        revenue, pieces = revenues(self.world, senders, purchases)
        by = senders.take(purchases["visit"])
        return joined(
            [
                pl.lit(',"order_id":"o-'),
                texts(hexadecimal(order_hashes(purchases))),
                pl.lit('","revenue":'),
                amounts(revenue),
                pl.lit(',"currency":"'),
                self.currencies.gather(by["country"]),
                pl.lit('","product_id":"sku-'),
                numbers(by["favourite"]).str.zfill(5),
                pl.lit('","properties":{"quantity":'),
                numbers(pieces),
                pl.lit("}}\n"),
            ]
        )


def pages_of(world: World) -> list[tuple[str, str]]:
    """Address and title of every page, and of one more that nobody visits on purpose."""
    items, root = world.shop.items, f"https://{world.shop.host}"
    paths = [(page.name.lower().replace("_", "-"), page.name.capitalize()) for page in Page]
    paths = [(path.replace("home", ""), title.replace("_", " ")) for path, title in paths]
    paths += [(f"c/{category}", category.capitalize()) for category in items.categories]
    for item in range(items.catalogue):
        noun = items.categories[item % len(items.categories)].removesuffix("s")
        adjective = items.adjectives[item // len(items.categories) % len(items.adjectives)]
        paths.append((f"p/{adjective}-{noun}-{item:05}", f"{adjective} {noun}".capitalize()))
    paths.append(("gone", "Gone"))
    return [(f"{root}/{path}", f"{title} | Example shop") for path, title in paths]


def tails_of(world: World) -> list[str]:
    """Ends of lines without figures of their own: by screen and depth, then by page."""
    screens, depths = (390, 412, 768, 1280, 1440, 1536, 1920, 2560), PLACES // 8
    plain = [
        f',"properties":{{"viewport_px":{screen},"scroll_share":{(depth + 1) / depths}}}}}\n'
        for screen, depth in ((s, d) for s in screens for d in range(depths))
    ]
    ends = [plain[0]] * (CATEGORY + len(world.shop.items.categories))
    for item, price in enumerate(world.tables.prices.tolist()):
        category = world.shop.items.categories[item % len(world.shop.items.categories)]
        ends.append(
            f',"product_id":"sku-{item:05}","properties":'
            f'{{"price":{price // 100}.{price % 100:02},"category":"{escaped(category)}"}}}}\n'
        )
    return [*plain, *ends, plain[0]]


def escaped(text: str) -> str:
    """Text as it stands between the quotes of a JSON string."""
    return json.dumps(text)[1:-1]


def hexadecimal(hashes: Hashes) -> NDArray[np.bytes_]:
    """Hashes as 16 hexadecimal digits."""
    return HEX[np.ascontiguousarray(hashes).view(np.uint16)].view("S16")


def texts(fixed: NDArray[Any]) -> pl.Series:
    """Texts of one width as a column, without copying them."""
    width = fixed.dtype.itemsize
    offsets = np.arange(0, (len(fixed) + 1) * width, width)
    array = pa.LargeStringArray.from_buffers(len(fixed), pa.py_buffer(offsets), pa.py_buffer(fixed))
    return pl.Series(array)


def numbers(values: Integers) -> pl.Series:
    """Integers as text."""
    return pl.Series(values).cast(pl.String)


def amounts(hundredths: Integers) -> pl.Series:
    """Amounts of money as text."""
    return joined([numbers(hundredths // 100), pl.lit("."), numbers(hundredths % 100).str.zfill(2)])


def joined(pieces: Sequence[pl.Series | pl.Expr]) -> pl.Series:
    """Put pieces together, row by row."""
    columns = {str(i): piece for i, piece in enumerate(pieces) if isinstance(piece, pl.Series)}
    order = [pl.col(str(i)) if str(i) in columns else piece for i, piece in enumerate(pieces)]
    return pl.DataFrame(columns).select(line=pl.concat_str(order)).to_series()


def broken(texts: pl.Series, lines: Records) -> pl.Series:
    """Break the lines that are to be broken."""
    flaws = lines["flaw"]
    if not (flaws >= Flaw.TRUNCATED).any():
        return texts
    which = np.arange(len(lines))
    pool = [texts]
    for flaw in range(Flaw.TRUNCATED, len(Flaw)):
        hit = np.flatnonzero(flaws == flaw)
        which[hit] = sum(map(len, pool)) + np.arange(len(hit))
        sound = texts.gather(hit)
        if flaw == Flaw.TRUNCATED:
            share = 0.4 + draws.level(draws.draws(lines["hash"][hit], "cut"), 0) / draws.LEVELS / 2
            kept = (sound.str.len_chars().to_numpy() * share).astype(np.int64)
            pool.append(joined([sound.str.head(pl.Series(kept)), pl.lit("\n")]))
        else:
            pool.append(sound.str.replace_all(*BREAKS[Flaw(flaw)]))
    return pl.concat(pool, rechunk=True).gather(which)


def as_bytes(lines: pl.Series, flaws: Integers) -> list[bytes | memoryview]:
    """Lines, each with its line feed, as bytes; the placeholder becomes a byte of no text."""
    array = lines.to_arrow()
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset :]
    text = memoryview(array.buffers()[2])
    rows = np.flatnonzero(flaws == Flaw.BAD_UTF8)
    found = lines.gather(rows).str.find(PLACEHOLDER, literal=True)
    parts: list[bytes | memoryview] = []
    begin = int(offsets[0])
    for place in (offsets[rows] + found.to_numpy()).tolist():
        parts += text[begin:place], BAD_BYTE
        begin = place + len(PLACEHOLDER)
    return [*parts, text[begin : int(offsets[len(array)])]]
