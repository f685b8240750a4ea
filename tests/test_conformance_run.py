"""``python -m django_tmibff.conformance``: it finds what is broken, and that alone."""

import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from requests_mock import ANY

from django_tmibff.conformance import (
    INVISIBLE,
    RULES,
    Call,
    Options,
    Outcome,
    Site,
    Verdict,
    examine,
)
from django_tmibff.conformance.__main__ import main
from tests.broken_backend import COOKIE, VIOLATIONS, WITHOUT_TOKENS, Backend, Violation
from tests.conformance import PAGE, ROW
from tests.page import TOKEN

# The servers are of a few lines, and have no database: once is enough.
pytestmark = pytest.mark.real

REPOSITORY = Path(__file__).resolve().parents[1]
EVERYTHING = Options(
    cookie_without_tokens=WITHOUT_TOKENS, scope="openid", renew=True, sign_out=True
)
# Over plain http there is no telling what plain http would get.
UNSEEN = {"E2"} | {verdict.id for verdict in INVISIBLE}
# It waits for a second to pass.
SLOW = "R2"
ALL = {one.id for one in RULES}


def verdicts(violation: Violation | None = None, *, ids: set[str] = ALL) -> list[Verdict]:
    with Backend(violation) as backend, Site(backend.origin, COOKIE, EVERYTHING) as site:
        return examine(site, ids=ids)


def failed(found: list[Verdict]) -> set[str]:
    return {verdict.id for verdict in found if verdict.outcome is Outcome.FAILED}


class TestRules:
    def test_a_backend_that_keeps_all_rules_passes(self) -> None:
        found = verdicts(ids=ALL | UNSEEN)
        assert failed(found) == set()
        untested = {one.id for one in found if one.outcome is Outcome.NOT_TESTABLE}
        assert untested == UNSEEN

    @pytest.mark.parametrize("name", VIOLATIONS)
    def test_each_violation_is_found_and_nothing_else_and_no_secret_said(self, name: str) -> None:
        violation, broken = VIOLATIONS[name]
        found = verdicts(violation, ids=ALL if SLOW in broken else ALL - {SLOW})
        assert failed(found) == broken
        said = " ".join(finding for verdict in found for finding in verdict.findings)
        assert COOKIE.partition("=")[2] not in said
        assert not re.search(r"access-token-\d", said)

    def test_every_rule_but_those_that_need_https_is_seen_broken(self) -> None:
        assert set().union(*(broken for _, broken in VIOLATIONS.values())) == ALL - {"E2"}

    def test_every_rule_of_the_protocol_has_a_verdict(self) -> None:
        rules = {match["rule"] for match in ROW.finditer(PAGE.read_text())}
        assert rules == ALL | UNSEEN


class TestPlainHttp:
    """E2."""

    @pytest.fixture
    def site(self) -> Iterator[Site]:
        with Site("https://app.example", COOKIE) as site:
            yield site

    @pytest.mark.parametrize(
        ("answer", "outcome"),
        [
            ({"status_code": 400, "json": {"error": "invalid_session"}}, Outcome.PASSED),
            ({"status_code": 301, "headers": {"Location": "https://x"}}, Outcome.PASSED),
            ({"exc": requests.ConnectionError}, Outcome.PASSED),
            ({"status_code": 301, "headers": {"Location": "http://x"}}, Outcome.FAILED),
            ({"status_code": 200, "json": {"access_token": "canary"}}, Outcome.FAILED),
            ({"status_code": 500, "text": "canary"}, Outcome.FAILED),
        ],
    )
    def test_e2_plain_http_has_no_session_and_is_sent_no_cookie(
        self, site: Site, requests_mock: Any, answer: dict[str, Any], outcome: Outcome
    ) -> None:
        for path in ("bff-token", "bff-sessioninfo"):
            requests_mock.get(f"http://app.example/.well-known/{path}", **answer)
        [verdict] = examine(site, ids={"E2"})
        assert verdict.outcome is outcome
        sent = [one for one in requests_mock.request_history if one.url.startswith("http:")]
        assert len(sent) == 2
        assert not [one for one in sent if "Cookie" in one.headers]
        assert "canary" not in str(verdict)


class TestDpop:
    """RFC 9449, where bff-sessioninfo says that it is wanted."""

    ENDPOINT = "https://op.example/token"

    def asked(self, requests_mock: Any, told: Any, *answers: Any) -> list[Any]:
        """Return the claims of the proofs with which a token was asked for."""
        requests_mock.get("https://app.example/.well-known/bff-sessioninfo", json={"dpop": told})
        token = requests_mock.get("https://app.example/.well-known/bff-token", answers)
        with Site("https://app.example", COOKIE) as site:
            site.ask_again(Call(TOKEN))
        proofs = [request.headers.get("DPoP") for request in token.request_history]
        return [
            proof and jwt.decode(proof, options={"verify_signature": False}) for proof in proofs
        ]

    def test_a_token_is_asked_for_with_a_proof_of_the_sites_time(self, requests_mock: Any) -> None:
        told = {"token_endpoint": self.ENDPOINT, "now": int(time.time()) + 5000, "nonce": "n-1"}
        [claims] = self.asked(requests_mock, told, {"json": {"access_token": "canary"}})
        assert (claims["htm"], claims["htu"], claims["nonce"]) == ("POST", self.ENDPOINT, "n-1")
        assert 4990 < claims["iat"] - time.time() < 5010

    def test_once_more_with_the_nonce_that_is_wanted(self, requests_mock: Any) -> None:
        wants = {
            "status_code": 400,
            "json": {"error": "use_dpop_nonce"},
            "headers": {"DPoP-Nonce": "n-2"},
        }
        found = self.asked(requests_mock, {"token_endpoint": self.ENDPOINT}, wants, wants, wants)
        assert [claims.get("nonce") for claims in found] == [None, "n-2"]

    @pytest.mark.parametrize(
        "told", [None, [], {}, {"token_endpoint": 5}, {"token_endpoint": "https://["}]
    )
    def test_without_one_where_nothing_legible_is_told(self, requests_mock: Any, told: Any) -> None:
        assert self.asked(requests_mock, told, {"json": {"access_token": "canary"}}) == [None]

    @pytest.mark.parametrize("now", [10**400, -(10**400), "now", True, None])
    def test_with_this_machines_time_where_the_sites_is_none(
        self, requests_mock: Any, now: Any
    ) -> None:
        told = {"token_endpoint": self.ENDPOINT, "now": now}
        [claims] = self.asked(requests_mock, told, {"json": {"access_token": "canary"}})
        assert abs(claims["iat"] - time.time()) < 5


class TestHostileBackend:
    """Somebody else's, with which somebody's session is tried."""

    TOKEN = f"eyJhbGciOiJFUzI1NiJ9.{'c4n4ry' * 40}.signature"
    LONG_COOKIE = f"sessionid={'s3cr3t' * 40}"
    EVIL = "https://evil.example/x"

    def findings(self, requests_mock: Any, answer: Any, cookie: str = LONG_COOKIE) -> str:
        """Return all that is said of a site that always gives this answer."""
        for scheme in ("http", "https"):
            requests_mock.register_uri(ANY, re.compile(f"{scheme}://app.example/"), **answer)
        with Site("https://app.example", cookie, EVERYTHING) as site:
            verdicts = examine(site, ids=ALL - {SLOW})
        return "\n".join(finding for verdict in verdicts for finding in verdict.findings)

    @pytest.mark.parametrize("login_url", ["//evil.example/x", EVIL, "/\\evil.example", "/@evil"])
    def test_the_cookie_goes_nowhere_else_wherever_it_leads(
        self, requests_mock: Any, login_url: str
    ) -> None:
        told = {"error": "invalid_session", "login_url": login_url, "logout_url": self.EVIL}
        told["dpop"] = {"token_endpoint": self.EVIL, "now": 1}
        answer = {"status_code": 307, "json": told, "headers": {"Location": self.EVIL}}
        self.findings(requests_mock, answer)
        sent = requests_mock.request_history
        assert {request.hostname for request in sent} == {"app.example"}
        assert {request.scheme for request in sent if "Cookie" in request.headers} == {"https"}

    @pytest.mark.parametrize("member", ["error", "scope", "login_url", "iss", "exp"])
    @pytest.mark.parametrize("before", ["", "Bearer ", '"', "\\'"])
    def test_no_secret_is_said_that_it_repeats_not_even_the_beginning(
        self, requests_mock: Any, member: str, before: str
    ) -> None:
        for secret in (self.TOKEN, self.LONG_COOKIE.partition("=")[2]):
            data = {"access_token": self.TOKEN, member: [f"{before}{secret}"]}
            findings = self.findings(requests_mock, {"status_code": 402, "json": data})
            assert "[secret]" in findings
            assert secret[:12] not in findings

    def test_nor_one_that_it_has_put_into_an_address(self, requests_mock: Any) -> None:
        """Which is named where it does not answer."""
        requests_mock.get(ANY, exc=requests.ConnectionError)
        requests_mock.get("https://app.example/.well-known/bff-sessioninfo", json={})
        requests_mock.get(
            "https://app.example/.well-known/bff-token",
            [
                {"json": {"access_token": self.TOKEN}},
                {"json": {"login_url": f"/{self.TOKEN}\x1b[31m\r{'x' * 999}"}},
            ],
        )
        with Site("https://app.example", self.LONG_COOKIE) as site:
            site.ask(Call(TOKEN))
            [verdict] = examine(site, ids={"B1"})
        assert verdict.outcome is Outcome.FAILED
        [finding] = verdict.findings
        assert finding.isprintable()
        assert len(finding) < 300
        assert self.TOKEN[:12] not in finding

    def test_an_answer_without_end_has_one(self, requests_mock: Any) -> None:
        requests_mock.get(ANY, content=b'{"error": "' + b"x" * 2**24)
        with Site("https://app.example", COOKIE) as site:
            answer = site.ask(Call(TOKEN))
        assert (len(answer.body), answer.data) == (2**20, None)

    def test_what_describes_a_run_has_no_secret_in_it(self, requests_mock: Any) -> None:
        answer = {"json": {"access_token": self.TOKEN}, "headers": {"Set-Cookie": "s=canary"}}
        requests_mock.get(ANY, **answer)
        options = Options(headers={"X-Key": "canary"}, cookie_without_tokens="s=canary")
        with Site("https://app.example", "s=canary", options) as site:
            described = repr((site.ask(Call(TOKEN)), options, site))
        assert "canary" not in described
        assert self.TOKEN[:12] not in described


class TestCommand:
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        with Backend() as backend:
            yield backend

    def test_rule_by_rule(self, backend: Backend, capsys: Any) -> None:
        assert main([backend.origin, "--cookie", COOKIE, "--rule", "E8", "--rule", "X4"]) == 0
        out = capsys.readouterr().out
        assert re.search(r"^passed +E8 +should +No answer", out, re.MULTILINE)
        assert re.search(r"^not testable +X4 +must +", out, re.MULTILINE)
        assert out.endswith("1 passed, 1 not testable from outside\n")

    def test_what_failed_is_said_and_is_the_exit_status(self, capsys: Any) -> None:
        violation, _ = VIOLATIONS["no Cache-Control"]
        with Backend(violation) as backend:
            assert main([backend.origin, "--cookie", COOKIE, "--rule", "E8"]) == 1
        out = capsys.readouterr().out
        assert "GET /.well-known/bff-token: Cache-Control lacks no-cache, no-store, private." in out

    def test_what_its_page_shows_is_what_it_prints(self, capsys: Any) -> None:
        """There it is over https: one rule more is seen to be kept."""

        def not_private(backend: Backend, request: Any) -> Any:
            return backend.answer(request).with_headers(Cache_Control="no-cache, no-store")

        with Backend(not_private) as backend:
            assert main([backend.origin, "--cookie", COOKIE]) == 1
        *lines, total = capsys.readouterr().out.splitlines()
        page = PAGE.with_name("conformance-run.md").read_text()
        *shown, told = page.split("```")[3].strip().splitlines()
        assert [line for line in shown if line not in (*lines, "…")] == []
        passed, failed, unseen = map(int, re.findall(r"\d+", total))
        assert (
            told == f"{passed + 1} passed, {failed} failed, {unseen - 1} not testable from outside"
        )

    def test_what_does_not_bind_others_need_not_count(self) -> None:
        violation, _ = VIOLATIONS["HEAD answered"]
        with Backend(violation) as backend:
            arguments = [backend.origin, "--cookie", COOKIE, "--rule", "E10", "--rule", "E1"]
            assert main(arguments) == 1
            assert main([*arguments, "--level", "should"]) == 0

    def test_b1_where_people_sign_in_on_a_page_of_the_sites_own_there_is_nothing_to_see(
        self, capsys: Any
    ) -> None:
        def leads_there(backend: Backend, request: Any) -> Any:
            right, is_login = backend.answer(request), request.path == "/login"
            return right.with_headers(Location="/who/?next=/") if is_login else right

        with Backend(leads_there) as backend:
            assert main([backend.origin, "--cookie", COOKIE, "--rule", "B1"]) == 0
        assert "not testable" in capsys.readouterr().out

    def test_json_for_programs(self, backend: Backend, capsys: Any) -> None:
        assert main([backend.origin, "--cookie", COOKIE, "--rule", "R7", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        [verdict] = found["verdicts"]
        assert (found["site"], verdict["rule"]) == (backend.origin, "R7")
        assert (verdict["strength"], verdict["outcome"]) == ("should", "not testable from outside")
        assert "--scope" in verdict["findings"][0]

    def test_a_password_in_the_address_is_not_printed(self, backend: Backend, capsys: Any) -> None:
        address = backend.origin.replace("//", "//tester:canary@")
        assert main([address, "--cookie", COOKIE, "--rule", "R1", "--json"]) == 0
        out = capsys.readouterr().out
        assert json.loads(out)["site"] == backend.origin
        assert "canary" not in out

    def test_the_cookie_need_not_be_on_the_command_line(
        self, backend: Backend, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{COOKIE}\n"))
        assert main([backend.origin, "--cookie", "-", "--rule", "R1"]) == 0

    def test_a_header_that_the_site_wants(self) -> None:
        def wants_header(backend: Backend, request: Any) -> Any:
            path = request.path if "X-Requested-With" in request.headers else "/nothing"
            return backend.answer(type(request)(**{**vars(request), "path": path}))

        with Backend(wants_header) as backend:
            arguments = [backend.origin, "--cookie", COOKIE, "--rule", "R1"]
            assert main(arguments) == 1
            assert main([*arguments, "--header", "X-Requested-With: page"]) == 0

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["http://app.example", "--cookie", COOKIE], "only https will do"),
            (["app.example", "--cookie", COOKIE], "must be like https://app.example"),
            (["https://app.example/path", "--cookie", COOKIE], "must be like"),
            (["https://app.example", "--cookie", "alone"], "must be like sessionid="),
            (["https://app.example", "--cookie", "a=b\r\nX: y"], "must be like sessionid="),
            (["http://localhost", "--cookie", COOKIE, "--header", "x"], "must be like X-"),
            (["http://127.0.0.1:9", "--cookie", COOKIE], "no answer (ConnectionError)"),
        ],
    )
    def test_what_cannot_be_tried(self, arguments: list[str], said: str, capsys: Any) -> None:
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert said in error
        assert COOKIE not in error

    def test_it_needs_no_django(self, backend: Backend) -> None:
        code = (
            "import sys; from django_tmibff.conformance.__main__ import main; status = main();"
            " sys.exit(status or 'django' in sys.modules)"
        )
        command = [sys.executable, "-c", code, backend.origin, "--cookie", COOKIE, "--rule", "E1"]
        done = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
