"""The scene: the site, everywhere else, and the victim's browser with attackers' pages in it."""

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import BrowserContext, Frame, Page, sync_playwright

from tests.browser.attacks.elsewhere import Elsewhere
from tests.browser.attacks.provider import SUBJECT, Provider, forged_logout_token, sign_in_tokens
from tests.browser.attacks.setups import HOSTS, OWN, Origin, Setup
from tests.proofs import PageKey
from tests.real.certificates import Paths, make_certificate
from tests.real.chromium import FLAGS
from tests.real.components import program
from tests.real.gunicorn import Gunicorn, migrate
from tests.real.processes import Startable

PROJECT = "tests.browser.attacks"
SCRIPTS = [Path(__file__).with_name(f"{name}.js") for name in ("tools", "means", "attack")]
CLAIMS = {"iss": "https://op.example", "sub": SUBJECT, "name": "canary-name"}
TIMEOUT_MILLISECONDS = 120_000

# Sign-ins are begun by the hundred, and each writes to a session.
SQLITE = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode = wal; PRAGMA synchronous = off;",
}

SIGN_IN = "body => fetch('/sign-in', {method: 'POST', body: JSON.stringify(body)}).then(a => a.ok)"
# With a proof of the page's own key, where the site wants one, unless it is to send other headers.
FETCH = """async ([path, method, headers]) => {
    const info = await fetch("/.well-known/bff-sessioninfo").then((answer) => answer.json());
    const proofs = info.dpop && !headers ? await import("/proofs.js") : null;
    proofs?.learn(info.dpop, Date.now());
    const answer = await (proofs?.ask ?? fetch)(path, {method, headers: headers ?? {}});
    return [answer.status, await answer.text()];
}"""
BEGIN = "([...given]) => { window.attacking = attack(...given); }"


@dataclass(frozen=True)
class Arrival:
    """A request of the attack of that number, as the site has recorded it.

    ``session``: the session cookie that came with it. ``queries``: all that it cost, among them
    those about ``token_sets``.
    """

    number: int
    method: str
    session: str | None
    status: int
    queries: int
    token_sets: int


class Scene(Startable):
    """Everything that takes part in the attacks on one setup; the victim is signed in."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        """Take the folder of all data and logs, an empty one."""
        self.setup = setup
        self.provider = Provider()
        self._folder = folder
        self._record = folder / "record"
        self._record.touch()
        self._recorded = 0
        self._arrivals: dict[int, list[Arrival]] = defaultdict(list)
        self._certificate = make_certificate(folder)
        self._elsewhere = Elsewhere(self._certificate)
        # A connection that a browser has made in advance keeps a thread.
        self._site = Gunicorn(
            folder, self._settings(), threads=64, project=PROJECT, certificate=self._certificate
        )
        self._attackers_key = PageKey()
        self._pages: set[Page] = set()
        self._running = ExitStack()

    def start(self) -> None:
        """Start the servers and the browser, and sign the victim in."""
        with ExitStack() as running:
            running.enter_context(self.provider)
            running.enter_context(self._elsewhere)
            migrate(self._site.settings, PROJECT)
            running.enter_context(self._site)
            self._browser = running.enter_context(self._chromium())
            self._own = self._open(OWN)
            self.sign_in()
            self._running = running.pop_all()

    def stop(self) -> None:
        """End all of it."""
        self._running.close()

    def sign_in(self) -> None:
        """Sign a victim in, from the site's own page."""
        tokens = sign_in_tokens(self.setup.token_seconds)
        assert self._own.evaluate(SIGN_IN, {"tokens": tokens, "claims": CLAIMS}), self.log()

    @property
    def session(self) -> str:
        """The victim's session cookie."""
        cookies = self._browser.cookies(self.address(OWN))
        return next(cookie["value"] for cookie in cookies if cookie["name"] == "sessionid")

    @property
    def states(self) -> set[str]:
        """The states of all sign-ins that the provider's page has seen."""
        return self._elsewhere.states

    def fetch(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Return status and text of the answer to the site's own page.

        It proves its key where the site wants that; but not with other ``headers``.
        """
        status, text = self._own.evaluate(FETCH, [path, method, headers])
        return status, text

    def attackers_proof(self) -> str:
        """Return a sound DPoP proof of a key that is the attackers' own."""
        return self._attackers_key.proof(htu=self.provider.url)

    def address(self, origin: Origin) -> str:
        """Return the address of that origin's page."""
        return origin.url.format(
            site=self._site.port, elsewhere=self._elsewhere.port, folder=self._folder
        )

    def target(self, origin: Origin, path: str) -> str:
        """Return the address of an endpoint, as that origin knows it."""
        return f"https://{origin.host}:{self._site.port}{path}"

    def attackers(self, origins: Sequence[Origin]) -> dict[Origin, Frame]:
        """Open the page of each origin, with the attack's scripts in it."""
        found = {}
        for origin in origins:
            found[origin] = self._open(origin)
            found[origin].add_script_tag(content="\n".join(file.read_text() for file in SCRIPTS))
        return found

    def attack(self, batches: dict[Frame, list[dict[str, Any]]], *, at_once: int) -> list[Any]:
        """Let all pages attack at the same time; return what each has found, in that order."""
        given = {
            "fields": {"scope": "openid", "logout_token": forged_logout_token()},
            "redirector": f"https://evil.example:{self._elsewhere.port}/to?url=",
            "proof": self.attackers_proof(),
        }
        for frame, attacks in batches.items():
            frame.evaluate(BEGIN, [given, attacks, at_once])
        found = [frame.evaluate("() => attacking") for frame in batches]
        self._close_windows()
        return found

    def navigate(self, url: str) -> None:
        """Open an address in a new tab, as the user does by hand."""
        page = self._browser.new_page()
        page.goto(url)
        page.close()

    def arrivals(self) -> Mapping[int, Sequence[Arrival]]:
        """Return all requests that have arrived at the site, by the number of their attack."""
        with self._record.open() as record:
            record.seek(self._recorded)
            for line in record.read().splitlines():
                arrival = Arrival(**json.loads(line))
                self._arrivals[arrival.number].append(arrival)
            self._recorded = record.tell()
        return self._arrivals

    def log(self) -> str:
        """Return what the site has logged."""
        return self._site.log()

    def _settings(self) -> dict[str, Any]:
        database = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(self._folder / "db"),
            "OPTIONS": SQLITE,
        }
        return {
            **self.provider.django_settings(),
            "OIDC_OP_AUTHORIZATION_ENDPOINT": f"https://op.example:{self._elsewhere.port}/sign-in",
            "DATABASES": {"default": database},
            "SESSION_COOKIE_SAMESITE": self.setup.same_site,
            "RECORD": str(self._record),
            **self.setup.settings,
        }

    @contextmanager
    def _chromium(self) -> Iterator[BrowserContext]:
        profile = self._folder / "profile"
        (profile / "Default").mkdir(parents=True)
        # Third-party cookies are allowed.
        preferences = {"profile": {"cookie_controls_mode": 0}}
        (profile / "Default" / "Preferences").write_text(json.dumps(preferences))
        with sync_playwright() as playwright:
            context = playwright.chromium.launch_persistent_context(
                profile,
                executable_path=program("chromium"),
                args=_flags(self._certificate),
            )
            context.set_default_timeout(TIMEOUT_MILLISECONDS)
            yield context
            context.close()

    def _open(self, origin: Origin) -> Frame:
        (self._folder / "page.html").write_text("<!doctype html><body>")
        page = self._browser.new_page()
        self._pages.add(page)
        page.goto(self.address(origin))
        return page.frames[origin.frame]

    def _close_windows(self) -> None:
        """Close what scripts have opened: they cannot where we have cut the tie."""
        for page in self._browser.pages:
            if page not in self._pages:
                page.close()


def _flags(certificate: Paths) -> list[str]:
    hosts = ", ".join(f"MAP {host} 127.0.0.1" for host in HOSTS)
    return [
        *FLAGS,
        f"--host-resolver-rules={hosts}",
        # Trusted for any host: a service worker takes no certificate that is not.
        f"--ignore-certificate-errors-spki-list={_public_key_hash(certificate[0])}",
    ]


def _public_key_hash(certificate: Path) -> str:
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()
