"""A policy of ours in a real browser: what it lets run, and what is reported of the rest."""

import json
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clickstream_platform.collection.tags import (
    Collector,
    blocked_sources,
    content_security_policy,
    load_vendors,
)
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.collection.clients.test_clients import free_port
from clickstream_platform_tests.collection.conftest import FOLDER
from clickstream_platform_tests.services.process import Zygote
from clickstream_platform_tests.services.wire import Door, loaded

pytestmark = pytest.mark.slow

NAME = "Content-Security-Policy"


def certificate() -> dict[str, str]:
    """A certificate of our own making, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {"cert": made.public_bytes(serialization.Encoding.PEM).decode(), "key": pem.decode()}


def test_browser_keeps_the_policy_and_reports_in_both_ways(
    node: str, chromium: str, tmp_path: Path
) -> None:
    door = Door(load_settings(tmp_path / "data"))
    port, proxy = free_port(), free_port()
    zygote = Zygote()
    running = zygote.start(door.settings.data, origins=[f"https://localhost:{port}"])
    collector = Collector(f"https://127.0.0.1:{proxy}", door.key().key)
    headers = content_security_policy(vendors=load_vendors(), collector=collector).headers(
        enforce=True
    )
    both = {name: value.replace("{NONCE}", "abc") for name, value in headers.items()}
    # A browser that knows `report-to` passes `report-uri` over: here it is told of the old alone.
    old = {NAME: both[NAME].replace("; report-to csp", "")}
    told = {
        "collector": f"http://127.0.0.1:{running.port}",
        "proxy": proxy,
        "port": port,
        "tls": certificate(),
        "policies": {"both": both, "old": old},
        "reports": 4,
    }
    done = subprocess.run(  # noqa: S603 - our own words
        [node, Path(__file__).with_name("policy.mjs"), FOLDER, chromium],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    running.signal(signal.SIGTERM)
    running.wait_gone()
    zygote.close()
    assert done.returncode == 0, done.stderr
    works = {"allowed": True, "refused": False, "tracker": "function"}
    assert json.loads(done.stdout) == {"seen": {"both": works, "old": works}, "taken": 4}

    assert not any(b"ann" in path.read_bytes() for path in door.sealed)
    events = loaded(door)
    assert set(events["page_url"]) == {
        f"https://localhost:{port}/{name}?email=%5Bemail%5D" for name in ("both", "old")
    }
    # The browser has no head, and is a bot by its own word.
    seen = blocked_sources(events.lazy().with_columns(is_bot=pl.lit(value=False)))
    assert {row[:2] + row[4:] for row in seen.iter_rows()} == {
        ("script-src", "inline", 2, 2),
        ("img-src", f"https://127.0.0.1:{port}", 2, 2),
    }
