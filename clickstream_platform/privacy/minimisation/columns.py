"""Scrubbing whole columns: most rows are passed by one search, the rest are scrubbed singly."""

from collections.abc import Callable, Collection, Sequence

import polars as pl

from clickstream_platform.privacy.minimisation.addresses import truncated_ip
from clickstream_platform.privacy.minimisation.scrubber import QueryKeys, Scrubber
from clickstream_platform.privacy.minimisation.suspicion import suspicious_rows


def scrub_payloads(
    payloads: pl.Series, *, query_keys: QueryKeys = "detect", allowed: Collection[str] = ()
) -> pl.Series:
    """Mask what is personal in records, each a JSON object as text.

    Texts at any depth are scrubbed, URLs by the rules of `scrub_urls`, and so are numbers whose
    key announces a telephone or card number. Keys stay, unless one is itself an e-mail address.
    Rows in which nothing is found come back byte for byte, and of others all that was clean.

    Args:
        payloads: Records; null stays null. What is not JSON is scrubbed as text.
        query_keys: See `scrub_urls`.
        allowed: See `scrub_urls`.
    """
    scrubber = Scrubber(query_keys=query_keys, allowed=allowed)
    return _scrubbed(payloads, scrubber, lambda rows: [scrubber.record(row).text for row in rows])


def scrub_urls(
    urls: pl.Series, *, query_keys: QueryKeys = "detect", allowed: Collection[str] = ()
) -> pl.Series:
    """Mask what is personal in URLs: user names, path segments, query and fragment values.

    Args:
        urls: URLs, absolute or not; null stays null.
        query_keys: ``detect`` judges each query key and value; ``allow`` first drops every key
            but campaign parameters (``utm_`` and click identifiers) and ``allowed``.
        allowed: Query keys that ``allow`` keeps, in any case.
    """
    scrubber = Scrubber(query_keys=query_keys, allowed=allowed)
    return _scrubbed(urls, scrubber, lambda rows: [scrubber.text(row).text for row in rows])


def scrub_texts(
    texts: pl.Series, *, query_keys: QueryKeys = "detect", allowed: Collection[str] = ()
) -> pl.Series:
    """Mask what is personal in free texts, such as page titles and search terms; null stays.

    Args:
        texts: Texts; URLs within them are scrubbed by the rules of `scrub_urls`.
        query_keys: See `scrub_urls`.
        allowed: See `scrub_urls`.
    """
    scrubber = Scrubber(query_keys=query_keys, allowed=allowed)
    return _scrubbed(texts, scrubber, lambda rows: [scrubber.text(row).text for row in rows])


def find_personal(
    texts: pl.Series, *, query_keys: QueryKeys = "detect", allowed: Collection[str] = ()
) -> pl.DataFrame:
    """List which rows hold which kinds of personal values; the values are not told.

    Args:
        texts: Texts, URLs or records.
        query_keys: See `scrub_urls`. A query key that ``allow`` would drop is of kind ``query``.
        allowed: See `scrub_urls`.

    Returns:
        ``row`` (position in ``texts``, from 0), ``kind``. Grain: row, kind; ordered by both.
    """
    scrubber = Scrubber(query_keys=query_keys, allowed=allowed)
    rows = _rows_to_look_at(texts, scrubber)
    kinds = [sorted(scrubber.payload(text).kinds) for text in texts.gather(rows)]
    return (
        pl.DataFrame({"row": rows, "kind": pl.Series(kinds, dtype=pl.List(pl.String))})
        .cast({"row": pl.Int64})
        .explode("kind")
        .drop_nulls("kind")
        .sort("row", "kind")
    )


def truncate_ips(addresses: pl.Series) -> pl.Series:
    """Cut IPv4 addresses to /24 and IPv6 addresses to /48; what is neither becomes null.

    An IPv4 address in IPv6 clothing (``::ffff:203.0.113.7``) is cut as IPv4.
    """
    texts = addresses.drop_nulls().unique().to_list()
    return _mapped(addresses, texts, [truncated_ip(text) for text in texts])


def _scrubbed(
    texts: pl.Series, scrubber: Scrubber, scrub: Callable[[pl.Series], Sequence[str]]
) -> pl.Series:
    """Scrub the suspicious rows, each distinct text once; the others stay where they are."""
    if texts.dtype == pl.Null or texts.is_empty():
        return texts
    rows = _rows_to_look_at(texts, scrubber)
    if rows.is_empty():
        return texts
    suspects = texts.gather(rows)
    distinct = suspects.unique()
    return texts.clone().scatter(rows, _mapped(suspects, distinct.to_list(), scrub(distinct)))


def _rows_to_look_at(texts: pl.Series, scrubber: Scrubber) -> pl.Series:
    """Positions of texts that may have to change, in order."""
    rows = suspicious_rows(texts)
    if scrubber.keeps_all_keys:
        return rows
    return texts.str.contains(r"[?#=]|%3[dD]").arg_true().append(rows).unique().sort()


def _mapped(texts: pl.Series, old: list[str], new: Sequence[str | None]) -> pl.Series:
    if not old:
        return texts
    return texts.replace_strict(
        pl.Series(old, dtype=pl.String),
        pl.Series(new, dtype=pl.String),
        default=None,
        return_dtype=pl.String,
    )
