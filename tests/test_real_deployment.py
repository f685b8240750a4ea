"""docs/deployment.md: nginx, gunicorn, PostgreSQL and Redis with the blocks of the page."""

import os
import re
import shlex
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.fernet import Fernet

from django_tmibff.conformance.__main__ import main as conformance
from tests.real.certificates import Paths, make_certificate
from tests.real.gunicorn import PROJECT, migrate
from tests.real.http import TIMEOUT_SECONDS
from tests.real.nginx import Nginx, block
from tests.real.postgresql import PostgreSQL
from tests.real.processes import Server, run, wait_until
from tests.real.project import DOCS, paste
from tests.real.redis import Redis
from tests.real.session import DAY, new_session
from tests.real.strict_server import StrictServer

pytestmark = pytest.mark.real

PAGE = (DOCS / "deployment.md").read_text()
LOGGING = (DOCS / "monitoring.md").read_text()
TOKEN, SESSION_INFO = "/.well-known/bff-token", "/.well-known/bff-sessioninfo"
COOKIE = "__Host-sessionid"
FETCH = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
AT_ROOT = "    location / {\n        proxy_pass http://site;\n    }\n"
SECRETS: dict[str, Any] = {
    # With what startproject's have in them, which means something to a shell.
    "SECRET_KEY": "of-this-test-$(&#!*" + "not-a-secret" * 4,
    "TMIBFF_ENCRYPTION_KEYS": [Fernet.generate_key().decode() for _ in range(2)],
}


class Deployed(Server):
    """gunicorn with the page's command and settings, for the test project."""

    def __init__(self, folder: Path, replacements: Mapping[str, str], **settings: Any) -> None:
        """Take what stands in the page's settings for what only the test knows, and more."""
        self.socket = folder / "gunicorn.sock"
        folder.mkdir()
        module = folder / "settings.py"
        module.write_text("from testproject.settings import *\n")
        for page in (PAGE, LOGGING):
            assert paste(folder, page, replacements) == ["settings.py"]
        with module.open("a") as file:
            file.writelines(f"{name} = {value!r}\n" for name, value in settings.items())
        module.rename(folder / "deployed_settings.py")
        super().__init__(
            "gunicorn",
            [*self._command(), "--no-control-socket"],
            folder=folder,
            ready=self._is_ready,
            cwd=PROJECT,
            env={
                "DJANGO_SETTINGS_MODULE": "deployed_settings",
                "PYTHONPATH": os.pathsep.join((str(folder), str(PROJECT))),
                **self._environment(folder),
            },
        )

    def _environment(self, folder: Path) -> dict[str, str]:
        """Return what the page's shell reads from the page's file with the secrets."""
        [written] = re.findall(r"```sh\n# /etc/site/environment\n(.*?)```", PAGE, re.DOTALL)
        for name, value in SECRETS.items():
            assert f"{name}='…'" in written
            text = value if isinstance(value, str) else " ".join(value)
            written = written.replace(f"{name}='…'", f"{name}='{text}'")
        file = folder / "environment"
        file.write_text(written)
        [reads] = re.findall(r"^set -a; .*$", PAGE, re.MULTILINE)
        assert "/etc/site/environment" in reads
        script = f"{reads.replace('/etc/site/environment', str(file))}; env -0"
        printed = run(["sh", "-c", script]).split("\0")
        pairs = [line.partition("=")[::2] for line in printed]
        return {name: value for name, value in pairs if name in SECRETS}

    def _command(self) -> list[str]:
        [written] = re.findall(r"^ExecStart=(.*)$", PAGE, re.MULTILINE)
        program, application, *options = shlex.split(written)
        assert (program, application) == ("/srv/site/.venv/bin/gunicorn", "shop.wsgi")
        bind = "unix:/run/site/gunicorn.sock"
        assert bind in options
        options = [f"unix:{self.socket}" if one == bind else one for one in options]
        return [sys.executable, "-m", "gunicorn", "testproject.wsgi", *options]

    def _is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0


class Site:
    """The deployed site, asked as a browser does: over https, by its name."""

    def __init__(self, nginx: Nginx, app: Deployed, certificate: Path, settings: Any) -> None:
        self.nginx = nginx
        self.app = app
        self.certificate = certificate
        self.settings = settings

    def new_session(self, server: StrictServer, *, age_seconds: float = 0) -> str:
        """Return the cookie of somebody who signed in that long ago."""
        return new_session(self.settings, server.new_family(), age_seconds=age_seconds)

    def fetch(
        self, path: str, cookie: str = "", *, method: str = "GET", **headers: str
    ) -> requests.Response:
        """Return the answer to a page's own call."""
        url = f"{self.nginx.origin}{path}"
        return self.ask(url, cookie, method=method, headers={**FETCH, **headers})

    def ask(self, url: str, cookie: str = "", **request: Any) -> requests.Response:
        """Return the answer to a request, without redirects."""
        with requests.Session() as session:
            session.trust_env = False
            session.cookies.update({COOKIE: cookie} if cookie else {})
            options = {"verify": str(self.certificate), "timeout": TIMEOUT_SECONDS}
            return session.request(
                request.pop("method", "GET"), url, allow_redirects=False, **options, **request
            )

    def submit(self, path: str, csrf: str, cookie: str = "", **fields: str) -> requests.Response:
        """Return the answer to a form of the site's own page."""
        return self.ask(
            f"{self.nginx.origin}{path}",
            method="POST",
            data={"csrfmiddlewaretoken": csrf, **fields},
            headers={
                "Cookie": f"__Host-csrftoken={csrf}; {COOKIE}={cookie}",
                "Origin": self.nginx.origin,
                "Referer": f"{self.nginx.origin}{path}",
            },
        )

    def ask_in_these_words(self, *lines: str) -> str:
        """Return the whole answer to a request of these lines, over https."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        address = ("127.0.0.1", self.nginx.port)
        with (
            socket.create_connection(address, timeout=TIMEOUT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            head = [*lines, f"Host: localhost:{self.nginx.port}", "Connection: close", "", ""]
            connection.sendall("\r\n".join(head).encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A self-signed certificate."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgreSQL, Redis]]:
    """PostgreSQL with the project's tables in it, and Redis."""
    with PostgreSQL() as database, Redis(tmp_path_factory.mktemp("redis")) as redis:
        database.create_database("site")
        migrate({"DATABASES": {"default": database.settings("site")}})
        yield database, redis


@pytest.fixture(scope="module")
def replacements(services: tuple[PostgreSQL, Redis]) -> dict[str, str]:
    """What stands in the page's settings for what only the test knows."""
    database, redis = services
    by_tcp = f'"HOST": "127.0.0.1", "PORT": {database.port}, "USER": "postgres"'
    return {
        '"HOST": "/run/postgresql"': by_tcp,
        "redis://127.0.0.1:6379/0": redis.url,
        "app.example": "localhost",
    }


@pytest.fixture(scope="module")
def kept(services: tuple[PostgreSQL, Redis], strict_server: StrictServer) -> dict[str, Any]:
    """The settings of who makes sessions for the site."""
    database, redis = services
    cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": redis.url}
    return {
        **strict_server.django_settings(),
        **SECRETS,
        "DATABASES": {"default": database.settings("site")},
        "CACHES": {"default": cache},
        "TMIBFF_STORE": "django_tmibff.stores.cached_db",
    }


@pytest.fixture(scope="module")
def site(
    certificate: Paths,
    replacements: dict[str, str],
    kept: dict[str, Any],
    strict_server: StrictServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """The site as the page has it."""
    folder = tmp_path_factory.mktemp("nginx")
    signing_out = {
        "OIDC_OP_END_SESSION_ENDPOINT": "https://op.example/logout",
        "OIDC_OP_LOGOUT_URL_METHOD": "django_tmibff.logout.end_session_url",
    }
    app = Deployed(folder / "app", replacements, **strict_server.django_settings(), **signing_out)
    configuration = block(PAGE, "/etc/nginx/conf.d/site.conf")
    nginx = Nginx(folder, configuration, certificate, {"/run/site/gunicorn.sock": str(app.socket)})
    with app, nginx:
        yield Site(nginx, app, certificate[0], kept)


@pytest.fixture(scope="module")
def cookie(site: Site, strict_server: StrictServer) -> str:
    """The cookie of somebody whose token is good."""
    return site.new_session(strict_server)


@pytest.fixture(scope="module")
def site_below_a_path(
    certificate: Paths,
    replacements: dict[str, str],
    kept: dict[str, Any],
    strict_server: StrictServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """The site with the page's other locations."""
    folder = tmp_path_factory.mktemp("nginx-below")
    settings = {**strict_server.django_settings(), "FORCE_SCRIPT_NAME": "/shop"}
    app = Deployed(folder / "app", replacements, **settings)
    nginx = Nginx(
        folder,
        block(PAGE, "/etc/nginx/conf.d/site.conf"),
        certificate,
        {
            AT_ROOT: block(PAGE, "below a path"),
            "/run/site/gunicorn.sock": str(app.socket),
        },
    )
    with app, nginx:
        yield Site(nginx, app, certificate[0], kept)


def test_e2_a_page_that_came_by_https_gets_its_token(
    site: Site, server: StrictServer, cookie: str
) -> None:
    answer = site.fetch(TOKEN, cookie, Origin=site.nginx.origin)
    assert answer.status_code == 200, answer.text
    assert server.is_alive(answer.json()["access_token"])


def test_e8_the_answers_headers_arrive_as_they_were_sent(site: Site, cookie: str) -> None:
    headers = site.fetch(TOKEN, cookie).headers
    assert headers["Cache-Control"] == "no-cache, no-store, private"
    assert {"Cookie", "Origin", "Sec-Fetch-Site"} <= set(headers["Vary"].split(", "))
    assert not {"Age", "ETag", "Expires", "Last-Modified", "Access-Control-Allow-Origin"} & {
        *headers
    }
    assert "max-age=31536000" in headers["Strict-Transport-Security"]


@pytest.mark.parametrize("name", ["X-Forwarded-Proto", "X_Forwarded_Proto", "Forwarded"])
def test_e2_what_the_browser_says_of_the_way_it_came_is_not_believed(
    site: Site, cookie: str, name: str
) -> None:
    value = "proto=http;host=evil.example" if name == "Forwarded" else "http"
    answer = site.ask_in_these_words(
        f"GET {TOKEN} HTTP/1.1", f"{name}: {value}", f"Cookie: {COOKIE}={cookie}"
    )
    assert answer.startswith("HTTP/1.1 200 "), answer


def test_a_long_proof_arrives(site: Site, cookie: str) -> None:
    """It means nothing here, but is as long as the limits of 8 KB allow."""
    assert site.fetch(TOKEN, cookie, DPoP="p" * 8000).status_code == 200
    assert site.fetch(TOKEN, cookie, DPoP="p" * 9000).status_code == 400


def test_a_redirect_to_the_provider_with_a_whole_id_token_arrives(
    site: Site, server: StrictServer
) -> None:
    family = {**server.new_family(), "id_token": "i" * 8000}
    cookie = new_session(site.settings, family)
    csrf = site.fetch("/admin/login/").cookies["__Host-csrftoken"]
    answer = site.submit("/oidc/logout/", csrf, cookie)
    assert answer.status_code == 302
    assert f"id_token_hint={'i' * 8000}" in answer.headers["Location"]


def test_e2_plain_http_never_reaches_the_endpoints(site: Site, cookie: str) -> None:
    """Whatever it says of itself."""
    answer = site.ask(
        f"http://localhost:{site.nginx.plain_port}{TOKEN}",
        cookie,
        headers={**FETCH, "X-Forwarded-Proto": "https"},
    )
    assert (answer.status_code, answer.headers["Location"]) == (301, f"https://localhost{TOKEN}")


def test_e5_another_origin_is_refused(site: Site, cookie: str) -> None:
    for origin in ("https://evil.example", f"http://localhost:{site.nginx.port}", "null"):
        assert site.fetch(TOKEN, cookie, Origin=origin).status_code == 403


def test_e5_nor_does_the_browser_say_which_origin_is_ours(site: Site, cookie: str) -> None:
    evil = {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"}
    assert site.fetch(TOKEN, cookie, **evil).status_code == 403


def test_another_host_gets_no_answer(site: Site) -> None:
    with pytest.raises(requests.ConnectionError):
        site.ask(f"http://127.0.0.1:{site.nginx.plain_port}/", headers={"Host": "evil.example"})
    with pytest.raises(requests.ConnectionError):
        site.ask(f"https://127.0.0.1:{site.nginx.port}/")


def test_e9_the_session_cookie_is_for_this_host_and_https_alone(site: Site) -> None:
    answer = site.fetch("/bff/login?next=/", **{"Sec-Fetch-Mode": "navigate"})
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


def test_djangos_own_forms_work_behind_it(site: Site) -> None:
    """Without ``CSRF_TRUSTED_ORIGINS``: the host and the scheme are the browser's."""
    login = site.fetch("/admin/login/")
    csrf = login.cookies["__Host-csrftoken"]
    answer = site.submit("/admin/login/", csrf, username="nobody", password="wrong")
    assert (answer.status_code, "correct username" in answer.text) == (200, True)


@pytest.mark.parametrize(
    ("number", "said"),
    [(signal.SIGHUP, "Booting worker"), (signal.SIGTERM, "Handling signal: term")],
    ids=["reload", "restart"],
)
def test_r12_a_renewal_under_way_is_saved_when_the_workers_are_replaced(
    site: Site, server: StrictServer, number: int, said: str
) -> None:
    cookie = site.new_session(server, age_seconds=DAY)
    released = threading.Event()
    server.delay = lambda: 0.0 if released.wait(TIMEOUT_SECONDS) else TIMEOUT_SECONDS
    before = site.app.log().count(said)
    with ThreadPoolExecutor(1) as callers:
        answer = callers.submit(site.fetch, TOKEN, cookie)
        wait_until(lambda: server.refreshes == 1, 10, "the authorization server is asked")
        os.kill(site.app.pid, number)
        wait_until(lambda: site.app.log().count(said) > before, 10, said)
        released.set()
        token = answer.result().json()["access_token"]
    if number == signal.SIGTERM:
        site.app.stop()
        site.app.start()
    assert server.is_alive(token)
    # It is kept in one write with the refresh token that came along.
    assert site.fetch(TOKEN, cookie).json()["access_token"] == token
    assert (server.refreshes, server.reuses) == (1, 0)
    assert re.search(r"INFO django_tmibff\.\w+: token set \w+ renewed\n", site.app.log())


def test_e1_the_endpoints_are_at_the_root_of_a_site_that_is_below_a_path(
    site_below_a_path: Site, server: StrictServer
) -> None:
    site = site_below_a_path
    assert site.fetch("/shop/").status_code == 200
    assert site.fetch("/").status_code == 404
    nobody = site.fetch(TOKEN).json()
    assert (nobody["error"], nobody["login_url"]) == ("invalid_session", "/shop/bff/login")
    cookie = site.new_session(server)
    assert server.is_alive(site.fetch(TOKEN, cookie).json()["access_token"])
    assert site.fetch(SESSION_INFO, cookie).status_code == 200
    # Where tmibff.js looks for it.
    assert site.fetch("/bff/logout", cookie, method="POST").status_code == 200
    assert site.fetch(TOKEN, cookie).json()["error"] == "invalid_session"


def test_the_location_for_endpoints_comes_before_files(
    site: Site, server: StrictServer, cookie: str, certificate: Paths, tmp_path: Path
) -> None:
    """Such as those of a single-page app, or of who issues certificates."""
    files = "    location / {\n        return 200 'the app';\n    }\n"
    more = "    location /.well-known/ {\n        return 404;\n    }\n"
    nginx = Nginx(
        tmp_path,
        block(PAGE, "/etc/nginx/conf.d/site.conf"),
        certificate,
        {
            AT_ROOT: files + more + block(PAGE, "the endpoints"),
            "/run/site/gunicorn.sock": str(site.app.socket),
        },
    )
    with nginx:
        url = f"{nginx.origin}{TOKEN}"
        assert site.ask(f"{nginx.origin}/", headers=FETCH).text == "the app"
        answer = site.ask(url, cookie, headers=FETCH)
        assert server.is_alive(answer.json()["access_token"])
        assert site.ask(f"{nginx.origin}/.well-known/other").status_code == 404


def test_the_checks_have_nothing_to_say(site: Site) -> None:
    """``check --deploy`` with the page's settings: neither of ours nor of Django's."""
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level=INFO"]
    assert "no issues" in run(command, cwd=PROJECT, env=site.app.env)


def test_a_conformance_run_finds_nothing(site: Site, server: StrictServer, capsys: Any) -> None:
    cookie = f"{COOKIE}={site.new_session(server)}"
    options = ("--cookie", cookie, "--ca-bundle", str(site.certificate))
    assert conformance([site.nginx.origin, *options]) == 0, capsys.readouterr().out
