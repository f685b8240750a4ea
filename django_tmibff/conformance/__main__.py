"""``python -m django_tmibff.conformance``: what a live TMI-BFF backend does, rule by rule."""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from ..hosts import browser_origin, is_loopback
from . import INVISIBLE, RULES, NoAnswerError, Options, Outcome, Site, Strength, Verdict, examine
from .site import TOKEN, Call

_LEVELS = {"must": Strength.MUST, "should": Strength.SHOULD, "all": Strength.DECISION}
_EPILOG = (
    "Sign in with a browser, and copy the session's cookie from its developer tools. The rules are"
    " those of docs/conformance.md: of the draft, of the guidance for it, and this project's own"
    " decisions, which do not bind other backends (--level should). Ends with status 1 if a rule"
    " failed, 2 if nothing could be tried."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how it goes, rule by rule; return the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        origin = _origin(given.url)
        with Site(origin, _cookie(given.cookie), _options(given)) as site:
            site.ask(Call(TOKEN))
            verdicts = examine(site, strength=_LEVELS[given.level], ids=given.rule)
    except (ValueError, NoAnswerError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(_as_json(origin, verdicts) if given.json else _as_text(verdicts))
    return int(any(verdict.outcome is Outcome.FAILED for verdict in verdicts))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m django_tmibff.conformance", description=__doc__, epilog=_EPILOG
    )
    known = sorted({*(one.id for one in RULES), *(one.id for one in INVISIBLE)})
    add = parser.add_argument
    add("url", help="the site's origin: https://app.example")
    add(
        "--cookie", required=True, help='"name=value" of a session; - reads it from a line of stdin'
    )
    add("--cookie-without-tokens", default="", help="of a session for which no tokens are kept")
    add("--header", action="append", default=[], help='"Name: value" that the site wants of pages')
    add("--scope", default="", help="a narrower scope than the sign-in's, to be asked for")
    add("--renew", action="store_true", help="have the site renew its token, too (T6)")
    add("--sign-out", action="store_true", help="end the session in the end (B5)")
    add(
        "--level", choices=_LEVELS, default="all", help="which rules: the draft's MUST, SHOULD, all"
    )
    add("--rule", action="append", default=[], choices=known, metavar="ID", help="only this one")
    add("--ca-bundle", default="", help="a PEM file with the authorities to trust")
    add("--timeout", type=float, default=10.0, help="seconds to wait for an answer (10)")
    add("--json", action="store_true", help="for programs: one JSON object")
    return parser


def _origin(url: str) -> str:
    """Return the URL's origin; raises ``ValueError`` where the cookie would go in the clear."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError("The site's origin must be like https://app.example.")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("The cookie would go over plain http: only https will do.")
    return f"{parts.scheme}://{parts.netloc}"


def _cookie(given: str) -> str:
    cookie = sys.stdin.readline().strip() if given == "-" else given
    if not re.fullmatch(r"[\x21-\x7e]+=[\x20-\x7e]+", cookie):
        raise ValueError("The cookie must be like sessionid=…")
    return cookie


def _options(given: argparse.Namespace) -> Options:
    headers = dict(_header(line) for line in given.header)
    without_tokens = given.cookie_without_tokens
    return Options(
        headers=headers,
        cookie_without_tokens=_cookie(without_tokens) if without_tokens else "",
        scope=given.scope,
        renew=given.renew,
        sign_out=given.sign_out,
        ca_bundle=given.ca_bundle,
        timeout=given.timeout,
    )


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not re.fullmatch(r"[\w-]+", name):
        raise ValueError("A header must be like X-Requested-With: page.")
    return name, value.strip()


def _as_json(origin: str, verdicts: Iterable[Verdict]) -> str:
    found = [
        {
            "rule": verdict.id,
            "strength": verdict.strength.name.lower(),
            "text": verdict.text,
            "outcome": verdict.outcome.value,
            "findings": list(verdict.findings),
        }
        for verdict in verdicts
    ]
    return json.dumps({"site": browser_origin(origin), "verdicts": found}, indent=2) + "\n"


def _as_text(verdicts: Sequence[Verdict]) -> str:
    lines = [line for verdict in verdicts for line in _lines(verdict)]
    counted = Counter(verdict.outcome for verdict in verdicts)
    total = ", ".join(f"{counted[one]} {one}" for one in Outcome if counted[one])
    return "\n".join([*lines, "", total, ""])


def _lines(verdict: Verdict) -> Iterable[str]:
    outcome = "not testable" if verdict.outcome is Outcome.NOT_TESTABLE else verdict.outcome.value
    yield f"{outcome:14}{verdict.id:5}{verdict.strength.name.lower():10}{verdict.text}"
    yield from (f"{'':19}{finding}" for finding in verdict.findings)


if __name__ == "__main__":
    sys.exit(main())
