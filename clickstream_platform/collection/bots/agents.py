"""User agents of programs: those on the lists, and those that say so themselves."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import crawleruseragents
import polars as pl
import re2

HEADLESS = (
    r"(?i)\bHeadless|PhantomJS|SlimerJS|puppeteer|playwright|Selenium|webdriver|HtmlUnit"
    r"|wkhtmlto|webkit2png|Zombie\.js"
)
"""Browsers that a program drives; they are not in the crawler list, which names crawlers."""

CLIENTS = (
    "(?i)^(curl|wget|python-requests|python-urllib|aiohttp|httpx|go-http-client|java/|okhttp|"
    "libwww|apache-httpclient|ruby|php|scrapy|node-fetch|axios|postman)"
)
"""Libraries that fetch pages without a browser."""

RUNTIMES = (
    r"(?i)^[^(]*http(?:[^s:]|s[^:]|s?$)|^[^(]*\b(?:web|rest|url|soap|xml-?rpc)[ _-]?client\b"
    r"|(?:^|[ (;,])(?:c?python|php|ruby|perl|java|node(?:\.js)?|dart|scala|rust|libcurl)/v?\d"
    r"|\bgo1\.\d|\blang/|\bsdk-(?:cpp|dotnet|go|java|js|node|php|python|ruby|rust)"
    r"|^(?:python|node|perl|lwp|java|grpc|apache)[-:/ ]|\((?:perl|dart|python|php|ruby|lua)\b"
    r"|^(?:aria2|axel|cakephp|deno|faraday|gsoap|guzzle|hackney|lib(?:curl|soup)|mojolicious"
    r"|needle|pycurl|reactornetty|request\.js|[\w-]*requests|reqwest|restsharp|symfony2?"
    r"|twisted|undici|unirest|ureq|zend)\b"
)
"""Libraries that no list names, by the client or the language that they give as theirs."""

_SITE = r"[a-z0-9-]+\.(?:com|org|net|io|dev|info)\b"

DECLARED = (
    r"(?i)https?://|\bwww\.|[\w.-]+@(?:[\w-]+\.)+[a-z]{2}|[ (;]\+[a-z][\w-]*\.[a-z]{2}"
    rf"|^{_SITE}|compatible; {_SITE}|^Mozilla/5\.0 \(compatible; [^;()]+\)$|\bsubscribers?\b"
    r"|\b(?:bot|robot)|crawl|spider|scrap(?:er|ing)|screen ?shot|page ?speed"
    r"|(?:link|ur[il]|web|page) ?preview|(?:image|e?mail|link|url) ?proxy"
    r"|(?:bot|previewer|checker|validator|monitor(?:ing)?|uptime|rss|fetcher|scan(?:ner|ning)?"
    r"|archiver?|inspector|synthetics?|(?:web|link|health|uptime)[ _-]?check|pinger|probe|audit"
    r"|grabber|harvester|extractor|downloader|indexer|analy[sz]er|expander|resizer)\b"
)
"""What calls itself a program, or gives an address to ask about it, and is on no list yet.

An address ends in letters: `app@9.2.3` is the version of an app, in which a person reads.
"""

NO_PROGRAM = (
    r"(?i)\bcubot(?:\b|_)|HTC Butterfly|\(PlayStation |Android[^()]*; [^;()]*\bbot\b[^;()]* Build/"
)
"""Telephones and consoles whose names read like a program's."""

OF_MODELS = (
    r"(?i)\b(?:openai|chatgpt|anthropic|claude|cohere|deepseek|doubao|ernie|gemini|grok|kimi|laion"
    r"|mistral|moonshot|notebooklm|perplexity|qwen|tongyi|xai|yiyan)(?:ai)?[ _-]?(?:bot|spider"
    r"|crawler|user|agent|search|fetch|training|index|downloader|cli\b|code\b)"
    r"|(?-i:AI|LLM)[ _-]?(?:bot|crawler|spider|scraper)"
)
"""Readers for language models that no list names, by the model that they read for."""

_MEMORY_BYTES = 32 << 20
"""What the automaton of a pattern may take; the list of crawlers is a large one."""


def bot_reason(user_agent: pl.Expr, own: Mapping[str, str] | None = None) -> pl.Expr:
    """Rule of layer agent that tells a user agent from a person's browser; null where none does.

    ``ai_crawler`` reads for language models, and is a class of its own because sites decide
    about it apart; ``declared_bot`` is on no list and says itself that it is a program.

    Args:
        user_agent: Header values.
        own: Further patterns by rule; they come first.

    Source:
        Crawlers by the crawler-user-agents list.
    """
    reason = pl.lit(None, pl.String)
    for rule, pattern in reversed(_patterns(own)):
        matches = user_agent.str.contains(pattern)
        reason = pl.when(matches).then(pl.lit(rule, pl.String)).otherwise(reason)
    return reason


def agent_reader(own: Mapping[str, str] | None = None) -> Callable[[str], str | None]:
    """Make what tells the rule of one user agent, as `bot_reason` does of a column.

    A column of one costs a hundred times as much. Beside letters outside of ASCII a word ends
    here and does not there; no rule is about them, and loading judges by the column anew.

    Args:
        own: Further patterns by rule; they come first.
    """
    searches = [(rule, search_for(pattern)) for rule, pattern in _patterns(own)]

    def reason(agent: str) -> str | None:
        text = agent.encode()
        return next((rule for rule, search in searches if search(text)), None)

    return reason


def search_for(pattern: str) -> Callable[[bytes], object]:
    """Make a search that takes time in proportion to the text, whatever the pattern.

    What is no pattern of RE2 is a `re2.error`.
    """
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY_BYTES
    return re2.compile(pattern, options).search  # type: ignore[no-any-return]


def _patterns(own: Mapping[str, str] | None) -> list[tuple[str | None, str]]:
    """Rules with their patterns; the first that matches counts."""
    return [
        *(own or {}).items(),
        ("headless", HEADLESS),
        ("http_client", CLIENTS),
        (None, NO_PROGRAM),
        ("ai_crawler", f"{_crawlers(for_models=True)}|{OF_MODELS}"),
        ("crawler", _crawlers(for_models=False)),
        ("declared_bot", DECLARED),
        ("http_client", RUNTIMES),
    ]


@lru_cache(maxsize=2)
def _crawlers(*, for_models: bool) -> str:
    """Pattern of the list's entries, of which those that name a product match no end of a name.

    `RED/` is no `WIRED/`. Readers for models are also told by their name alone, in any case.
    """
    listed: list[tuple[str, Sequence[str]]] = [
        (entry["pattern"], entry["instances"])
        for entry in crawleruseragents.CRAWLER_USER_AGENTS_DATA
        if ("ai-crawler" in entry["tags"]) == for_models and not _is_of_apps(entry["instances"])
    ]
    products = [pattern for pattern, seen in listed if _names_product(pattern, seen)]
    rest = [pattern for pattern, _ in listed if pattern not in products]
    # One boundary for all of them: one for each would double the automaton.
    patterns = [*rest, rf"\b(?:{'|'.join(products)})"]
    if for_models:
        names = "|".join(pattern.removesuffix(r"\/") for pattern, _ in listed)
        patterns.append(rf"(?i:\b(?:{names})\b)")
    return "|".join(patterns)


def _is_of_apps(seen: Sequence[str]) -> bool:
    """Whether all that the list has seen of an entry comes from the WebView of an app.

    People read in one: such an entry names the app, or the build of the telephone's system.
    """
    return bool(seen) and all("; wv)" in agent for agent in seen)


def _names_product(pattern: str, seen: Sequence[str]) -> bool:
    """Whether a pattern is a name and a slash, which begins a word wherever the list saw it."""
    is_name = pattern.endswith(r"\/") and pattern[0].isalnum()
    return is_name and all(re.search(rf"\b{pattern}", agent) for agent in seen)
