"""Formats: each reads its own, and what it cannot read comes out with a reason."""

import contextlib
import gzip
import json
import random
from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.events import load_adapters, read_records
from clickstream_platform.events.adapters import Adapter
from clickstream_platform.events.columns import snowplow_fields
from clickstream_platform.events.record_frames import FileRefusedError
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings
from clickstream_platform_tests.events.door import fates, load_file, quarantined

ADAPTERS = load_adapters()
LOG = (
    '203.0.113.9 - ann [20/Nov/2026:10:00:00 +0200] "GET /a?b=c HTTP/1.1" 200 12 '
    '"https://www.example.com/" "Mozilla/5.0 (X11; Linux x86_64) \\"quoted\\" Firefox/130.0"'
)


def read(path: Path, adapter: str | Adapter) -> list[tuple[str, str | None]]:
    """Payloads and errors of a file."""
    chosen = ADAPTERS[adapter] if isinstance(adapter, str) else adapter
    return pl.concat(read_records(path, chosen)).rows()


def write(folder: Path, name: str, content: bytes) -> Path:
    """A file of the given bytes."""
    path = folder / name
    path.write_bytes(content)
    return path


def test_lines_keep_their_order_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "a.ndjson", b'{"a":1}\r\n\n{"a":2}\n  \n{"a":3}')
    assert [payload for payload, _ in read(path, "canonical")][:2] == ['{"a":1}', '{"a":2}']
    assert read(path, "canonical")[-1][0] == '{"a":3}'


def test_gz_of_several_members_and_padding_is_read_whole(tmp_path: Path) -> None:
    content = gzip.compress(b'{"a":1}\n') + gzip.compress(b'{"a":2}\n') + b"\0" * 64
    path = write(tmp_path, "a.ndjson.gz", content)
    assert [payload for payload, _ in read(path, "canonical")] == ['{"a":1}', '{"a":2}']


def test_torn_gz_gives_what_came_before_and_says_so(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f'{{"a":{n * 7919 % 9973}}}\n' for n in range(20_000)).encode())
    rows = read(write(tmp_path, "a.ndjson.gz", whole[: len(whole) // 2]), "canonical")
    assert 1_000 < len(rows) < 20_000
    assert [error for _, error in rows if error] == ["the gz stream ends early"]


def test_line_that_is_not_utf8_is_the_only_one_to_blame(tmp_path: Path) -> None:
    path = write(tmp_path, "a.ndjson", b'{"a":1}\n{"a":"\xff"}\n{"a":3}\n')
    assert [error for _, error in read(path, "canonical")] == [None, "is not UTF-8", None]


def test_line_that_holds_the_readers_separator_is_read_whole(tmp_path: Path) -> None:
    path = write(tmp_path, "a.ndjson", b'{"a":"x\x1fy"}\n{"a":2}\n')
    assert [payload for payload, _ in read(path, "canonical")] == ['{"a":"x\x1fy"}', '{"a":2}']


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.csv", "a.tsv.gz", "a.parquet"])
def test_random_bytes_are_records_or_a_refusal_and_no_other_error(
    tmp_path: Path, name: str, seed: int
) -> None:
    noise = random.Random(seed).randbytes(3_000)
    content = gzip.compress(noise) if seed % 3 == 0 else noise
    path = write(tmp_path, name, (b"PAR1" if name.endswith("parquet") else b"") + content)
    for adapter in ("canonical", "apache", "snowplow", "ga4", "shop"):
        with contextlib.suppress(FileRefusedError):
            list(read_records(path, ADAPTERS[adapter]))


def test_csv_keeps_leading_zeros_and_rejects_torn_rows(tmp_path: Path) -> None:
    text = b'event_name,user_id,page_title\nlogin,00123,"a ""b"", c"\nlogin,7\nlogin,8,d\n'
    rows = read(write(tmp_path, "a.csv", text), "canonical")
    assert json.loads(rows[0][0]) == {
        "event_name": "login",
        "user_id": "00123",
        "page_title": 'a "b", c',
    }
    assert [error for _, error in rows] == [None, None, "missing columns"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("a.csv", b"a,b,A\n1,2,3\n", "once: columns 1 and 3 of 3 have", id="same name"),
        pytest.param("a.csv", b"a,,b\n1,2,3\n", "once: column 2 of 3 has no name", id="no name"),
        pytest.param("a.csv", b"\na,b\n1,2\n", "once: it is empty", id="empty line first"),
        pytest.param("a.csv", b"", "once: it is empty", id="empty CSV"),
        pytest.param("a.json", b'[{"a":1},{"a":2}]', "is one JSON document", id="array"),
        pytest.param(
            "a.json", b'[\r\n{"a":1},\r\n{"a":2}\r\n]', "jq -c '.\\[\\]'", id="array on lines"
        ),
        pytest.param("a.json", b'\xef\xbb\xbf\n{\n  "a": 1\n}\n', "is one JSON", id="object"),
        pytest.param("a.json", b'[{"a":1}]\n[{"a":2}]\n', "is one JSON", id="arrays"),
        pytest.param("a.parquet", b"PAR1 but not really", "is no Parquet", id="broken Parquet"),
    ],
)
def test_file_that_cannot_be_read_at_all_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(FileRefusedError, match=message):
        read(write(tmp_path, name, content), "canonical")


def test_document_is_counted_as_refused_and_blocks_nobody(
    settings: Settings, tmp_path: Path
) -> None:
    for name, content in (("a.json", b'[{"a":1}]'), ("b.json", b'{"event_name":"a"}\n')):
        load_file(settings, write(tmp_path, name, content), "web")
    counted = fates(settings, "web")
    assert (counted["refused_files"], counted["received"]) == (1, 1)


@pytest.mark.parametrize("name", ["a.tsv", "EXPORT.TSV", "a.Tsv.gz"])
def test_ending_of_tabbed_files_is_seen_in_capitals_too(tmp_path: Path, name: str) -> None:
    ((payload, error),) = read(write(tmp_path, name, b"a\tb\n1\t2\n"), "canonical")
    assert (json.loads(payload), error) == ({"a": "1", "b": "2"}, None)


@pytest.mark.parametrize("first", [b"[", b'[{"a":1}]', b"{", b"[INFO] begins", b'{"a":'])
def test_odd_first_line_does_not_make_a_document_of_sound_ones(
    tmp_path: Path, first: bytes
) -> None:
    rows = read(write(tmp_path, "a.json", first + b'\n{"a":1}\n{"a":2}\n'), "canonical")
    assert [payload for payload, _ in rows][1:] == ['{"a":1}', '{"a":2}']


def test_combined_log_lines_become_records(tmp_path: Path) -> None:
    rows = read(write(tmp_path, "access.log", f"{LOG}\nnonsense\n".encode()), "nginx")
    record = json.loads(rows[0][0])
    assert (record["client"], record["remote_user"], record["path"]) == (
        "203.0.113.9",
        "ann",
        "/a?b=c",
    )
    assert rows[1] == ("nonsense", "is no line of the combined log format")


def test_log_line_becomes_an_event_of_a_visitor(settings: Settings, tmp_path: Path) -> None:
    path = write(tmp_path, "access.log", f"{LOG}\n".encode())
    row = load_file(settings, path, "apache").row(0, named=True)
    assert (row["event_name"], row["page_path"]) == ("page_view", "/a")
    assert (row["ip_address"], row["referrer_host"]) == ("203.0.113.0", "www.example.com")
    assert row["occurred_at"].hour == 8


def log_line(
    request: str = "GET / HTTP/1.1", *, user: str = "-", agent: str = "-", behind: str = ""
) -> str:
    """A line of the combined format."""
    return (
        f'203.0.113.9 - {user} [20/Nov/2026:10:00:00 +0000] "{request}" 200 1 "-" "{agent}"{behind}'
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(log_line(behind=' "198.51.100.4"'), {"path": "/"}, id="a field behind it"),
        pytest.param(log_line(behind=" 0.12 rt=0.1"), {"path": "/"}, id="several fields behind it"),
        pytest.param(log_line("GET / HTTP/2.0"), {"protocol": "HTTP/2.0"}, id="HTTP/2"),
        pytest.param(log_line("GET /a b HTTP/1.1"), {"path": "/a b"}, id="blank in a path"),
        pytest.param(log_line('GET /?q="a" HTTP/1.1'), {"path": '/?q="a"'}, id="bare quotes"),
        pytest.param(log_line("GET /a"), {"path": "/a", "protocol": None}, id="no version"),
        pytest.param(log_line(user="Ann A"), {"remote_user": "Ann A"}, id="blank in a user"),
        pytest.param(
            log_line(r"GET /?q=\"a\" HTTP/1.1"), {"path": "/?q=%22a%22"}, id="quotes by backslash"
        ),
        pytest.param(
            log_line(r"GET /caf\xC3\xA9/\xE9 HTTP/1.1"),
            {"path": "/caf%C3%A9/%E9"},
            id="bytes of an address",
        ),
        pytest.param(
            log_line(agent=r"\x22Caf\xC3\xA9\x22 \\ \"b\""),
            {"user_agent": '"Café" \\ "b"'},
            id="bytes of a text",
        ),
        pytest.param(log_line(agent=r"a\x00b"), {"user_agent": r"a\x00b"}, id="byte of no text"),
        pytest.param(
            "shop.example:443 " + log_line(),
            {"vhost": "shop.example:443", "client": "203.0.113.9"},
            id="a virtual host before it",
        ),
        pytest.param(
            log_line(user="Ann A").replace("203.0.113.9", "2001:db8::1"),
            {"vhost": None, "client": "2001:db8::1"},
            id="an address with colons",
        ),
        pytest.param(log_line(r"\x16\x03\x01"), {"method": None, "path": None}, id="no HTTP"),
        pytest.param(log_line(r"\x03 a\"b c"), {"method": None}, id="no HTTP, with a quote"),
    ],
)
def test_odd_log_line_is_read(tmp_path: Path, line: str, expected: dict[str, object]) -> None:
    ((payload, error),) = read(write(tmp_path, "access.log", f"{line}\n".encode()), "nginx")
    assert error is None
    record = json.loads(payload)
    assert {name: record[name] for name in expected} == expected


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("shop.example " + log_line(), id="a word before it"),
        pytest.param(log_line().removesuffix('"'), id="torn"),
    ],
)
def test_line_of_another_format_is_refused(tmp_path: Path, line: str) -> None:
    ((_, error),) = read(write(tmp_path, "access.log", f"{line}\n".encode()), "nginx")
    assert error == "is no line of the combined log format"


def test_page_of_a_virtual_host_is_on_it(settings: Settings, tmp_path: Path) -> None:
    hosts = ["shop.example:443 ", "shop.example:80 ", "shop.example:8080 ", ""]
    lines = [host + log_line(f"GET /{n} HTTP/1.1") for n, host in enumerate(hosts)]
    path = write(tmp_path, "access.log", "\n".join(lines).encode())
    assert load_file(settings, path, "apache")["page_url"].sort().to_list() == [
        "/3",
        "http://shop.example/1",
        "http://shop.example:8080/2",
        "https://shop.example/0",
    ]


@pytest.mark.parametrize("source", ["apache", "nginx"])
def test_request_for_no_address_is_no_page(settings: Settings, tmp_path: Path, source: str) -> None:
    requests = ["OPTIONS * HTTP/1.0", "CONNECT shop.example:443 HTTP/1.1", r"\x16\x03"]
    lines = "".join(log_line(request, user='""') + "\n" for request in requests)
    rows = load_file(settings, write(tmp_path, "access.log", lines.encode()), source)
    assert rows["event_name"].to_list() == ["http_request"] * 3
    assert rows["page_url"].null_count() == rows["user_id"].null_count() == 3
    targets = {json.loads(text).get("target") for text in rows["properties"]}
    assert targets == {"*", "shop.example:443", None}


def test_snowplow_event_of_131_fields(settings: Settings, tmp_path: Path) -> None:
    fields = dict.fromkeys(snowplow_fields(), "")
    fields |= {
        "app_id": "shop",
        "platform": "web",
        "event": "unstruct",
        "event_name": "add_to_cart",
        "event_id": "f1",
        "collector_tstamp": "2026-11-20 10:00:05.000",
        "dvce_created_tstamp": "2026-11-20 09:00:00.000",
        "dvce_sent_tstamp": "2026-11-20 09:00:01.000",
        "domain_userid": "visitor-ann",
        "user_ipaddress": "203.0.113.9",
        "page_url": "https://shop.example.com/p",
        "mkt_source": "news",
        "mkt_medium": "email",
        "unstruct_event": json.dumps({"schema": "s", "data": {"data": {"sku": "p1"}}}),
        "contexts": json.dumps({"data": [{"schema": "c", "data": {"id": 1}}]}),
    }
    assert len(fields) == 131
    line = "\t".join(fields.values())
    path = write(tmp_path, "run.tsv", f"{line}\n{line}\textra\n".encode())
    row = load_file(settings, path, "snowplow").row(0, named=True)
    assert (row["event_name"], row["platform"], row["campaign_source"]) == (
        "add_to_cart",
        "web",
        "news",
    )
    # 10:00:05 - (09:00:01 - 09:00:00)
    assert str(row["occurred_at"])[11:19] == "10:00:04"
    assert json.loads(row["properties"]) == {"sku": "p1"}
    assert json.loads(row["entities"]) == [{"schema": "c", "data": {"id": 1}}]
    assert quarantined(settings) == {1: ["record_unreadable"]}


def snowplow(number: int, **fields: object) -> str:
    """A line of an enriched event."""
    shared = {
        "app_id": "shop",
        "platform": "web",
        "event_id": f"f{number}",
        "collector_tstamp": "2026-11-20 10:00:05.000",
        "domain_userid": "visitor-ann",
    }
    given = shared | fields
    texts = [given.get(name, "") for name in snowplow_fields()]
    return "\t".join(t if isinstance(t, str) else json.dumps(t) for t in texts) + "\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("ga4", '{"event_params": [], "geo": {"city": "\\ud800"}}', id="ga4"),
        pytest.param("ga4", '{"event_params": ' + "[" * 3_000 + "]" * 3_000 + "}", id="deep"),
        pytest.param("nginx", log_line(agent=r"\xED\xA0\x80"), id="log"),
    ],
)
def test_record_that_is_no_text_or_too_deep_leaves_the_others(
    settings: Settings, tmp_path: Path, name: str, text: str
) -> None:
    other = log_line() if name == "nginx" else '{"event_name": "page_view", "event_params": []}'
    path = write(tmp_path, "a.log", f"{other}\n{text}\n{other}\n".encode())
    load_file(settings, path, name)
    assert fates(settings, name)["received"] == 3


def test_what_pings_and_orders_say_beside_the_columns_is_kept(
    settings: Settings, tmp_path: Path
) -> None:
    offsets = {"pp_yoffset_min": "0", "pp_yoffset_max": "900"}
    order = {"tr_orderid": "o-1", "tr_total": "25.0", "tr_tax": "4.0", "tr_shipping": "5.0"}
    lines = [
        snowplow(0, event="page_ping", event_name="page_ping", **offsets),
        snowplow(1, event="transaction", event_name="transaction", **order),
        snowplow(2, event="page_ping", event_name="page_ping"),
    ]
    rows = load_file(settings, write(tmp_path, "a.tsv", "".join(lines).encode()), "snowplow")
    assert rows.sort("event_id")["properties"].to_list() == [
        '{"y_offset_min":"0","y_offset_max":"900"}',
        '{"tax":"4.0","shipping":"5.0"}',
        None,
    ]


def described(schema: str, data: object) -> dict[str, object]:
    """JSON that brings its own schema."""
    return {"schema": f"iglu:com.snowplowanalytics.{schema}/jsonschema/1-0-0", "data": data}


def test_snowplow_app_is_known_by_its_session_not_by_the_network(
    settings: Settings, tmp_path: Path
) -> None:
    session = described("snowplow/client_session", {"userId": "device-7", "sessionId": "s1"})
    screen = described("mobile/screen_view", {"name": "Cart"})
    phone = described("snowplow/mobile_context", {"osType": "ios"})
    shared: dict[str, object] = {
        "platform": "mob",
        "domain_userid": "",
        "event": "unstruct",
        "event_name": "screen_view",
        "unstruct_event": described("snowplow/unstruct_event", screen),
        "contexts": described("snowplow/contexts", [session, phone]),
    }
    lines = [snowplow(n, **shared, network_userid=f"random-{n}") for n in range(2)]
    rows = load_file(settings, write(tmp_path, "a.tsv", "".join(lines).encode()), "snowplow")
    assert rows["visitor_id"].n_unique() == 1
    assert rows["tracker_session_id"].unique().to_list() == ["s1"]
    assert rows["page_title"].unique().to_list() == ["Cart"]
    assert json.loads(rows["entities"][0]) == [phone]
    raw = Lake(settings.lake_folder).scan("raw_events").collect()
    assert "device-7" not in "".join(raw["payload"]), "an identifier is stored as a pseudonym"


def test_snowplow_json_that_is_none_spoils_its_own_record_alone(
    settings: Settings, tmp_path: Path
) -> None:
    action = {"event": "unstruct", "event_name": "snowplow_ecommerce_action"}
    odd: list[dict[str, object]] = [
        {"contexts": '{"data": "/client_session/"}'},
        {"contexts": {"data": [1, "/client_session/"]}},
        {"contexts": "/client_session/"},
        {"contexts": '{"data": [', **action},
        {"unstruct_event": '{"data": {', **action},
        {"unstruct_event": "?", "event": "unstruct", "event_name": "screen_view"},
        {},
    ]
    lines = [snowplow(n, **({"event": "page_view"} | fields)) for n, fields in enumerate(odd)]
    rows = load_file(settings, write(tmp_path, "a.tsv", "".join(lines).encode()), "snowplow")
    assert rows["event_id"].to_list() == ["f1", "f6"]
    assert rows["visitor_id"].null_count() == 0
    assert quarantined(settings) == {
        0: ["entities_malformed"],
        2: ["entities_malformed"],
        3: ["entities_malformed"],
        4: ["properties_malformed"],
        5: ["properties_malformed"],
    }


def test_snowplow_commerce(settings: Settings, tmp_path: Path) -> None:
    def action(kind: str, *entities: object) -> dict[str, object]:
        event = described("snowplow.ecommerce/snowplow_ecommerce_action", {"type": kind})
        return {
            "event": "unstruct",
            "event_name": "snowplow_ecommerce_action",
            "unstruct_event": described("snowplow/unstruct_event", event),
            "contexts": described("snowplow/contexts", list(entities)),
        }

    order = {"transaction_id": "o1", "revenue": 5.5, "currency": "EUR"}
    socks, shoes = (described("snowplow.ecommerce/product", {"id": p}) for p in ("p1", "p2"))
    item = {"ti_orderid": "o2", "ti_sku": "p3", "ti_price": "2"}
    lines = [
        snowplow(0, **action("product_view", socks)),
        snowplow(1, **action("transaction", described("snowplow.ecommerce/transaction", order))),
        snowplow(2, **action("list_view", socks, shoes)),
        snowplow(3, event="transaction_item", **item),
        snowplow(4, event="transaction", tr_orderid="o3", tr_total="3", tr_currency="EUR"),
        snowplow(5, event="unstruct", event_name="AddToCart"),
        snowplow(6, **action("refund", described("snowplow.ecommerce/refund", order))),
    ]
    rows = load_file(settings, write(tmp_path, "a.tsv", "".join(lines).encode()), "snowplow")
    found = rows.select("event_name", "product_id", "order_id", pl.col("revenue").cast(pl.Float64))
    assert found.rows() == [
        ("view_item", "p1", None, None),
        ("purchase", None, "o1", 5.5),
        ("list_view", None, None, None),
        ("transaction_item", "p3", "o2", None),
        ("purchase", None, "o3", 3.0),
        ("add_to_cart", None, None, None),
        ("refund", None, "o1", None),
    ]
    assert rows["currency_original"].to_list() == [None, "EUR", None, None, "EUR", None, None]
    assert json.loads(rows["properties"][3])["sku"] == "p3"


def test_segment_messages(settings: Settings, tmp_path: Path) -> None:
    shared: dict[str, object] = {
        "anonymousId": "visitor-ann",
        "originalTimestamp": "2026-11-20T09:00:00Z",
        "sentAt": "2026-11-20T09:00:00Z",
        "receivedAt": "2026-11-20T09:00:00Z",
        "context": {
            "ip": "203.0.113.9",
            "page": {"url": "https://shop.example.com/p", "title": "P"},
            "campaign": {"source": "news", "medium": "email", "name": "spring"},
        },
    }
    order = {"order_id": "o1", "revenue": 12.5, "currency": "EUR"}
    messages: list[dict[str, object]] = [
        {"messageId": "m1", "type": "page", "properties": {"url": "https://x.example.com/"}},
        {"messageId": "m2", "type": "track", "event": "Order Completed", "properties": order},
        {"messageId": "m3", "type": "track", "event": "My Own Event", "userId": "u1"},
        {"messageId": "m4", "type": "identify", "userId": "u1", "traits": {"plan": "free"}},
    ]
    lines = "".join(json.dumps(shared | message) + "\n" for message in messages)
    rows = load_file(settings, write(tmp_path, "a.ndjson", lines.encode()), "segment")
    assert rows["event_name"].to_list() == ["page_view", "purchase", "my_own_event", "identify"]
    bought = rows.row(1, named=True)
    assert (str(bought["revenue"]), bought["order_id"]) == ("12.5000", "o1")
    assert (bought["campaign_name"], bought["page_path"]) == ("spring", "/p")
    assert rows["user_id"].is_null().to_list() == [True, True, False, False]


def test_segment_says_who_it_is_about(settings: Settings, tmp_path: Path) -> None:
    shared: dict[str, object] = {"userId": "u1", "receivedAt": "2026-11-20T09:00:02Z"}
    sure = {"timestamp": "2026-11-20T09:00:00+01:00"}
    messages: list[dict[str, object]] = [
        {"messageId": "m1", "type": "alias", "previousId": "visitor-ann", **sure},
        {"messageId": "m2", "type": "group", "groupId": 7, "traits": {"size": 2}, **sure},
        {"messageId": "m3", "type": "screen", "name": "Cart", "sentAt": "2026-11-20T09:00:01Z"},
        {"messageId": "m4", "type": "track", "event": "addToCart", "anonymousId": "visitor-ann"},
    ]
    lines = "".join(json.dumps(shared | message) + "\n" for message in messages)
    rows = load_file(settings, write(tmp_path, "a.ndjson", lines.encode()), "segment")
    assert rows["event_name"].to_list() == ["alias", "group", "screen_view", "add_to_cart"]
    alias, group, screen, track = rows.to_dicts()
    assert alias["visitor_id"] == track["visitor_id"]
    assert json.loads(group["properties"]) == {"size": 2, "group_id": "7"}
    assert screen["page_title"] == "Cart"
    # Without a time of sending, a message happened when it says.
    assert [str(row["occurred_at"])[11:19] for row in (alias, screen)] == ["08:00:00", "09:00:02"]


def ga4(table: str) -> dict[str, object]:
    """One purchase as the export writes it; ``table`` makes daily and intraday differ."""
    return {
        "event_date": "20261120",
        "event_timestamp": "1795168800000000",
        "event_name": "purchase",
        "user_pseudo_id": "123.456",
        "event_bundle_sequence_id": "7",
        "batch_event_index": "1",
        "platform": "WEB",
        "stream_id": "1",
        "event_params": [
            {"key": "page_location", "value": {"string_value": "https://shop.example.com/ok"}},
            {"key": "ga_session_id", "value": {"int_value": "99"}},
            {"key": "engagement_time_msec", "value": {"int_value": "1200"}},
            {"key": "currency", "value": {"string_value": "EUR"}},
        ],
        "ecommerce": {"transaction_id": "t1", "purchase_revenue": 30.0},
        "privacy_info": {"analytics_storage": "Yes", "ads_storage": "No"},
        "table": table,
    }


def test_ga4_event_in_both_tables_is_kept_once(settings: Settings, tmp_path: Path) -> None:
    lines = "".join(json.dumps(ga4(table)) + "\n" for table in ("daily", "intraday"))
    rows = load_file(settings, write(tmp_path, "events.ndjson", lines.encode()), "ga4")
    row = rows.row(0, named=True)
    assert rows.height == 1
    assert (row["page_path"], row["tracker_session_id"], row["engaged_time_ms"]) == (
        "/ok",
        "99",
        1200,
    )
    assert (str(row["revenue"]), row["consent_analytics"], row["consent_marketing"]) == (
        "30.0000",
        True,
        False,
    )
    assert fates(settings, "ga4")["duplicate"] == 1


def test_ga4_parquet_reads_like_ndjson(settings: Settings, tmp_path: Path) -> None:
    frame = pl.DataFrame([ga4("daily")])
    frame.write_parquet(tmp_path / "events.parquet")
    row = load_file(settings, tmp_path / "events.parquet", "ga4").row(0, named=True)
    assert (row["page_path"], str(row["revenue"])) == ("/ok", "30.0000")


def test_ga4_placeholders_are_no_values(settings: Settings, tmp_path: Path) -> None:
    unset = {"analytics_storage": "Unset", "ads_storage": "Unset"}
    nothing = {"transaction_id": "(not set)", "purchase_revenue": 30.0}
    records = [
        ga4("daily") | {"privacy_info": unset, "ecommerce": nothing, "items": [{"item_id": "p1"}]},
        ga4("daily") | {"event_bundle_sequence_id": "8", "items": [{"item_id": "(not set)"}]},
        ga4("daily")
        | {"event_bundle_sequence_id": "9", "items": [{"item_id": "p1"}, {"item_id": "p2"}]},
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    rows = load_file(settings, write(tmp_path, "events.ndjson", lines.encode()), "ga4")
    found = rows.sort("ordinal").select("order_id", "product_id", "consent_analytics")
    assert found.rows() == [(None, "p1", None), ("t1", None, True), ("t1", None, True)]
