"""Headers of a request that no browser of a person would send, or leave out.

They identify people among each other and are stored nowhere; what is kept is which rule they match.
"""

import re
from collections.abc import Mapping

HINTS = ("user-agent", "sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform")
"""Headers whose values are looked at."""

_BRAND = re.compile(r'"(?:Chromium|Google Chrome)"\s*;\s*v="(\d+)')
_CHROME = re.compile(r"(?:Chrome|CriOS)/(\d+)")
_SYSTEMS = {
    "Windows": "Windows NT",
    "macOS": "Macintosh",
    "Android": "Android",
    "Chrome OS": "CrOS",
    "Linux": "Linux",
}
"""What a user agent says where the hint names a system."""


def header_signals(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Rules of layer header that the headers of a browser's request match.

    Args:
        headers: By name in lower case.
    """
    agent, brands, mobile, platform = (headers.get(name, "") for name in HINTS)
    checks = {
        "headless_hint": "HeadlessChrome" in brands,
        "client_hints_mismatch": bool(agent and brands)
        and _differ(agent, brands, mobile, platform),
        "no_accept_language": not headers.get("accept-language"),
        "no_user_agent": not agent,
    }
    return tuple(rule for rule, matches in checks.items() if matches)


def _differ(agent: str, brands: str, mobile: str, platform: str) -> bool:
    """Whether client hints and user agent cannot be of one browser.

    Only Chromium sends hints, so a user agent without Chrome that comes with them is made up.
    """
    named, told = _CHROME.search(agent), _BRAND.search(brands)
    if named is None or (told is not None and told[1] != named[1]):
        return True
    if mobile == "?1" and "Mobi" not in agent:
        return True
    system = _SYSTEMS.get(platform.strip('"'))
    return system is not None and system not in agent
