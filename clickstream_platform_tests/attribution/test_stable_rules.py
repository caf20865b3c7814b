"""Rules read the same in every process: a fingerprint that differs rebuilds every session."""

import os
import subprocess
import sys

PRINT = (
    "from clickstream_platform.collection.consent import load_policy; "
    "from clickstream_platform.collection.consent_log import silence_of; "
    "from clickstream_platform.sessions import load_session_definitions; "
    "print(load_session_definitions(None), silence_of(load_policy()))"
)


def test_rules_do_not_depend_on_the_seed_of_hashes() -> None:
    texts = {
        subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-c", PRINT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1
