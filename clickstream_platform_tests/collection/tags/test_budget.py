"""Budgets: a HAR file and a Lighthouse report by hand, edges of limits, other files."""

import json
import random
from pathlib import Path

import pytest

from clickstream_platform.collection.tags import Budget, load_budget, read_pages, spent
from clickstream_platform.collection.tags.budget import VITALS
from clickstream_platform.errors import DefinitionError

PAGE, TRACKER = "https://www.shop.example/", "https://c.example/t.js?v=1"
OTHER, AGAIN = "https://ads.example/p.gif?email=ann@example.com", "https://ads.example/q.js"


def entry(url: str, page: str = "page_1", **response: object) -> dict[str, object]:
    sizes: dict[str, object] = {"bodySize": -1, "headersSize": -1, "content": {"size": 0}}
    return {"pageref": page, "request": {"url": url}, "response": sizes | response}


def har(*entries: dict[str, object]) -> str:
    return json.dumps({"log": {"version": "1.2", "pages": [], "entries": entries}})


def lighthouse(urls: dict[str, int], times: dict[str, float], **vitals: float) -> str:
    audits: dict[str, object] = {
        "network-requests": {
            "details": {"items": [{"url": u, "transferSize": n} for u, n in urls.items()]}
        },
        "bootup-time": {"details": {"items": [{"url": u, "total": t} for u, t in times.items()]}},
    }
    audits |= {VITALS[name]: {"numericValue": value} for name, value in vitals.items()}
    return json.dumps({"lighthouseVersion": "13.0.0", "finalDisplayedUrl": PAGE, "audits": audits})


def budget(**limits: float) -> Budget:
    own = {"own": ["cdn.example"], "tracker": r"/t(-[a-z]+)?\.js$"}
    return Budget.model_validate(own | {"limits": limits})


def costs(text: str, **limits: float) -> dict[str, tuple[float | None, str, bool]]:
    (page,) = read_pages(text, "f")
    return {
        it.limit: (it.measured, it.costliest, it.is_kept) for it in spent(page, budget(**limits))
    }


def test_har_by_hand() -> None:
    # Two hosts are third parties: 900 + 50 bytes of one, 30 + 20 (body and headers) of the other.
    # The page's own subdomain and the content network that is ours are none.
    text = har(
        entry(PAGE, _transferSize=5_000),
        entry("https://img.shop.example/a.png", _transferSize=7_000),
        entry("https://cdn.example/b.css", _transferSize=8_000),
        entry(TRACKER, _transferSize=3_100),
        entry("https://c.example/t-vitals.js", _transferSize=3_700),
        entry(OTHER, _transferSize=900),
        entry(AGAIN, _transferSize=-1, content={"size": 50}),
        entry("https://tags.example/x.js", bodySize=30, headersSize=20),
        entry("data:image/png;base64,AAAA", _transferSize=10),
    )
    limits = {
        "tracker_bytes": 6_800,
        "main_thread_ms": 50,
        "third_party_requests": 3,
        "third_party_bytes": 999,
        "third_party_hosts": 2,
    }
    assert costs(text, **limits) == {
        "tracker_bytes": (6_800, "c.example 6,800", True),
        "main_thread_ms": (None, "", True),
        "third_party_requests": (3, "ads.example 2, tags.example 1", True),
        "third_party_bytes": (1_000, "ads.example 950, tags.example 50", False),
        "third_party_hosts": (2, "ads.example 1, tags.example 1", True),
    }


def test_lighthouse_by_hand() -> None:
    text = lighthouse(
        {PAGE: 1, TRACKER: 3_000, OTHER: 10},
        {PAGE: 900, TRACKER: 51, AGAIN: 60, "https://tags.example/x.js": 70, "Unattributable": 80},
        lcp_ms=2_500,
        cls=0.11,
    )
    limits = {
        "main_thread_ms": 50,
        "third_party_main_thread_ms": 130,
        "lcp_ms": 2_500,
        "cls": 0.1,
        "tbt_ms": 1,
    }
    found = {
        "main_thread_ms": (51, "c.example 51", False),
        "third_party_main_thread_ms": (130, "tags.example 70, ads.example 60", True),
        "lcp_ms": (2_500, "", True),
        "cls": (0.11, "", False),
        "tbt_ms": (None, "", True),
    }
    assert costs(text, **limits) == found
    wrapped = json.dumps({"kind": "pagespeedonline#result", "lighthouseResult": json.loads(text)})
    assert costs(wrapped, **limits) == found


def test_nothing_of_an_address_but_its_host_is_told() -> None:
    (page,) = read_pages(har(entry(PAGE), entry(OTHER)), "f")
    assert not any("ann" in str(it) for it in spent(page, load_budget()))


def test_each_page_of_a_har_file_has_the_whole_budget() -> None:
    pages = read_pages(har(entry(PAGE), entry(OTHER), entry(PAGE, "page_2")), "f")
    limits = budget(third_party_requests=0)
    assert [spent(page, limits)[0].measured for page in pages] == [1, 0]


@pytest.mark.parametrize("seed", range(20))
def test_every_request_is_of_exactly_one_side(seed: int) -> None:
    rng = random.Random(seed)
    urls = [rng.choice([PAGE, TRACKER, OTHER, AGAIN, "https://cdn.example/x"]) for _ in range(30)]
    entries = [entry(url, _transferSize=rng.randrange(1_000)) for url in [PAGE, *urls]]
    sizes = costs(har(*entries), tracker_bytes=0, third_party_bytes=0)
    whole: dict[str, int] = {"": 0}
    for it in entries:
        request, response = it["request"], it["response"]
        assert isinstance(request, dict)
        assert isinstance(response, dict)
        key = {TRACKER: "tracker_bytes", OTHER: "third_party_bytes", AGAIN: "third_party_bytes"}
        name = key.get(request["url"], "")
        whole[name] = whole.get(name, 0) + response["_transferSize"]
    for name, (measured, *_) in sizes.items():
        assert (measured or 0) == whole.get(name, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", r"^f: syntax: is no JSON\. Save a HAR", id="no JSON"),
        pytest.param("[]", r"^f: \(root\): is neither a HAR file", id="list"),
        pytest.param('{"log": {}}', r"^f: \(root\): is neither a HAR file", id="no entries"),
        pytest.param(har(), r"^f: log\.entries: holds no request", id="empty"),
    ],
)
def test_other_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        read_pages(text, "f")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limits", r"b\.toml: syntax: "),
        ("tracker = 'x'", r"b\.toml: limits: is missing"),
        ("tracker = '('\n[limits]", r"b\.toml: tracker: is no pattern: "),
        ("tracker = 'x'\n[limits]\nlcp = 1", r"b\.toml: limits\.lcp: is no key here"),
        (
            "tracker = 'x'\n[limits]\nlcp_ms = -1",
            r"b\.toml: limits\.lcp_ms: .*greater than or equal",
        ),
    ],
)
def test_budgets_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "b.toml"
    file.write_text(text)
    with pytest.raises(DefinitionError, match=message):
        load_budget(file)


def test_own_tracker_keeps_the_shipped_budget() -> None:
    built = Path(__file__).parents[3] / "clickstream_platform/collection/tracker/built"
    (page,) = read_pages(har(entry(PAGE), *[
        entry(f"https://c.example/{file.name}", _transferSize=file.stat().st_size // 2)
        for file in built.glob("t*.js")
    ]), "f")  # fmt: skip
    (verdict,) = [it for it in spent(page, load_budget()) if it.limit == "tracker_bytes"]
    assert verdict.measured is not None
    assert verdict.is_kept
