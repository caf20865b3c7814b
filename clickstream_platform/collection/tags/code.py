"""Code: what custom HTML runs and loads, without what it only says.

Comments, data blocks, links to click and names of XML languages hold addresses that no browser
loads for the tag.
"""

import re
from functools import lru_cache

_HTML_COMMENT = re.compile(r"(?s)<!--.*?(?:-->|\Z)")
_SCRIPT = re.compile(r"(?is)(<script\b[^>]*>)(.*?)(</script\s*>|$)")
_TYPE = re.compile(r"(?i)\stype\s*=\s*['\"]?([^'\"\s>]+)")
_RUNS = re.compile(r"(?i)^(?:module|(?:text|application)/(?:x-)?(?:java|ecma|j)script)$")
_TEXT_OR_COMMENT = re.compile(
    r"""(?xs)
    ("(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | `(?:\\.|[^`\\])*`)
    | /\*.*?(?:\*/|\Z)
    | (?<![:\\"'`=(/]) //[^\n]*
    """
)
"""Texts of a script, which are kept, and its comments; ``//`` in an address is none."""

_LINK = re.compile(r"(?i)<a\s[^<>;{}]*?href\s*=[^<>]*>")
_NAMESPACE = re.compile(
    r"(?i)\bxmlns(?::\w+)?\s*=\s*\\?['\"][^'\"]*['\"]"
    r"|\b(?:create|get|has|remove|set)\w*NS\(\s*['\"][^'\"]*['\"]"
)


@lru_cache(maxsize=1024)
def live_code(html: str) -> str:
    """Custom HTML without comments, data, links and XML namespaces."""
    code = _SCRIPT.sub(lambda found: _run(*found.groups()), _HTML_COMMENT.sub("", html))
    return _NAMESPACE.sub("", _LINK.sub("", code))


def _run(start: str, script: str, end: str) -> str:
    """A script without its comments; nothing where its type says that it is data."""
    kind = _TYPE.search(start)
    if kind is not None and not _RUNS.match(kind.group(1)):
        return ""
    return start + _TEXT_OR_COMMENT.sub(lambda found: found.group(1) or " ", script) + end
