"""A tab of a real browser in which tmibff.js runs, and what a site and an API answer it."""

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.real.processes import wait_until
from tests.real.scripted_server import Answer, ScriptedServer

STATIC = Path(__file__).parents[1] / "django_tmibff" / "static" / "django_tmibff"
MODULE = STATIC / "tmibff.js"
TYPES = STATIC / "tmibff.d.ts"
PROOFS = STATIC / "tmibff-dpop.js"

TOKEN = "/.well-known/bff-token"
SESSION = "/.well-known/bff-sessioninfo"
WAIT_SECONDS = 10

# What every answer of an API has to carry.
API = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "WWW-Authenticate, DPoP-Nonce",
    "Cache-Control": "no-store",
}

# Whatever the page keeps anywhere, and how long it waits; no wait takes any time.
WATCH = """
window.complaints = [];
window.kept = [];
window.waits = [];
window.skew = 0;
const watch = (owner, name) => {
  const usual = owner[name];
  owner[name] = function (...given) { kept.push(name); return usual.apply(this, given); };
};
watch(Storage.prototype, "setItem");
watch(IDBFactory.prototype, "open");
// Elsewhere than on a page of ours there are none.
if (isSecureContext) watch(CacheStorage.prototype, "open");
if (isSecureContext) watch(StorageManager.prototype, "getDirectory");
const cookie = Object.getOwnPropertyDescriptor(Document.prototype, "cookie");
Object.defineProperty(Document.prototype, "cookie", { ...cookie, set() { kept.push("cookie"); } });
addEventListener("securitypolicyviolation", (event) => complaints.push(event.violatedDirective));
addEventListener("unhandledrejection", (event) => complaints.push(String(event.reason)));
const now = Date.now;
Date.now = () => now() + skew * 1000;
window.setTimeout = (work, wait) => { waits.push(wait); queueMicrotask(work); };
"""


def given(value: str = "token-1", **members: Any) -> Answer:
    """Return a token answer; ``...`` leaves a member out."""
    usual = {"access_token": value, "token_type": "Bearer", "expires_in": 300, "scope": "a b"}
    return Answer({name: one for name, one in {**usual, **members}.items() if one is not ...})


def refusal(error: str, status: int = 400, retry_after: str | None = None, **more: Any) -> Answer:
    """Return an error answer."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Answer({"error": error, **more}, status, headers)


def challenged(challenge: str | None, status: int = 401, **headers: str) -> Answer:
    """Return an API's refusal."""
    said = {} if challenge is None else {"WWW-Authenticate": challenge}
    return Answer({"refused": True}, status, {**said, **headers})


INVALID_TOKEN = challenged('Bearer realm="api", error="invalid_token"')
NOBODY = refusal("invalid_session", login_url="/bff/login")
UNAVAILABLE = refusal("temporarily_unavailable", retry_after="1")
ALICE = Answer({"sub": "alice", "exp": 1})


class Tab:
    """A tab of the browser with a page that has imported the module."""

    def __init__(self, page: Page, site: ScriptedServer) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", self._listen)
        page.goto(f"{site.origin}/")
        wait_until(lambda: self.runs("Boolean(window.tmibff)"), WAIT_SECONDS, "module imported")

    def close(self) -> list[str]:
        """Leave the page; return what went wrong in it, and what it has kept anywhere."""
        found = [*self.complaints, *self.page.evaluate("[...complaints, ...kept]")]
        self.page.remove_listener("pageerror", self._listen)
        self.page.unroute_all()
        self.page.goto("about:blank")
        return found

    def _listen(self, error: Any) -> None:
        self.complaints.append(str(error))

    def runs(self, expression: str) -> Any:
        """Return what the expression comes to; the functions of the module have their names."""
        named = f"with (window.tmibff ?? {{}}) return {expression}"
        return self.page.evaluate(f"async () => {{ {named} }}")

    def leaves(self, expression: str) -> None:
        """Run what makes the page leave: it could not say what that comes to."""
        self.runs(f"(setTimeout(() => {expression}), null)")

    def fails(self, expression: str) -> dict[str, Any]:
        """Return the error that the expression rejects with: its class, and its members."""
        outcome = self.runs(
            f"Promise.resolve().then(() => {expression}).then((value) => ({{value}}), (error) => "
            "({error: {...error, response: undefined, message: error.message, "
            "ours: error instanceof TmibffError}}))"
        )
        assert "error" in outcome, outcome
        found: dict[str, Any] = outcome["error"]
        return {name: value for name, value in found.items() if value is not None}

    def begins(self, expression: str) -> None:
        """Start what the expression does; ``outcome`` waits for it."""
        self.page.evaluate(
            f"() => {{ with (tmibff) window.outcome = ({expression}).then("
            "(value) => ({value}), ({error}) => ({error})) }"
        )

    def outcome(self) -> dict[str, Any]:
        """Return what has become of it: ``value``, or the ``error``'s code."""
        found: dict[str, Any] = self.page.evaluate("window.outcome")
        return found

    def listens(self) -> None:
        """Collect the session's events in ``heard``."""
        self.runs("void (window.heard = [], onSession((event) => heard.push(event)))")

    def heard(self, count: int) -> list[list[Any]]:
        """Return that many events, once they have come: state, and subject."""
        wait_until(lambda: self.runs("heard.length") >= count, WAIT_SECONDS, "events heard")
        found = self.runs("heard.map(({state, session}) => [state, session?.sub ?? session])")
        assert len(found) == count, found
        return list(found)
