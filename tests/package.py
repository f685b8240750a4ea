"""``make package``: build wheel and sdist, check them, and try both in empty environments.

Beside the wheel there is all that a new user has: a project as ``startproject`` makes it, the
README's settings and paths, and a test that gets a token by the testing kit.
"""

import shutil
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real.gunicorn import PROJECT
from tests.real.processes import run

DIST = PROJECT / "dist"
BROUGHT = """
from importlib.metadata import files, version
import django_tmibff
assert django_tmibff.__version__ == version("django-tmibff")
print(*sorted(str(file) for file in files("django-tmibff") if file.parts[0] == "django_tmibff"))
"""
README = (PROJECT / "README.md").read_text()
TRY_IT = """
import requests_mock
from django.contrib.auth.models import User
from django.test import TestCase
from django.utils import translation

from django_tmibff.models import TokenSet
from django_tmibff.testing import FETCH, sign_in
from django_tmibff.testing.wire import AuthorizationServer


class TokenTest(TestCase):
    def test_an_expired_token_is_renewed(self):
        user = User.objects.create_user("alice")
        with requests_mock.Mocker() as mocker:
            server = AuthorizationServer(mocker)
            sign_in(self.client, user, expires_in=-1)
            answer = self.client.get("/.well-known/bff-token", headers=FETCH, secure=True)
        self.assertEqual(answer.json()["access_token"], "fresh-1")
        self.assertEqual(server.calls, 1)
        info = self.client.get("/.well-known/bff-sessioninfo", headers=FETCH, secure=True)
        self.assertEqual(info.status_code, 200)

    def test_the_admin_speaks_other_languages(self):
        with translation.override("fr"):
            self.assertEqual(str(TokenSet._meta.verbose_name), "jeu de jetons")
"""


def main() -> None:
    """Do all of it; raises ``RuntimeError`` with what was printed where something fails."""
    shutil.rmtree(DIST, ignore_errors=True)
    run([sys.executable, "-m", "build", "--outdir", DIST, PROJECT], cwd=PROJECT)
    built = sorted(DIST.iterdir())
    run([sys.executable, "-m", "twine", "check", "--strict", *built], cwd=PROJECT)
    [wheel], [sdist] = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    run([sys.executable, "-m", "check_wheel_contents", wheel], cwd=PROJECT)
    with _installed(f"{wheel}[testing]") as python:
        _try(python)
        of_wheel = run([python, "-c", BROUGHT], cwd=python.parent)
    with _installed(sdist, "--no-deps") as python:
        of_sdist = run([python, "-c", BROUGHT], cwd=python.parent)
    assert of_wheel == of_sdist, (of_wheel, of_sdist)
    sys.stdout.write(f"{', '.join(file.name for file in built)}: built, checked, tried.\n")


@contextmanager
def _installed(what: str | Path, *options: str) -> Iterator[Path]:
    """Yield the Python of an environment where that is installed, and nothing else was."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        run([python, "-m", "pip", "install", "--quiet", *options, what], cwd=Path(folder))
        yield python


def _try(python: Path) -> None:
    """Follow the README in a folder beside that Python."""
    folder = python.parents[1] / "project"
    folder.mkdir()
    run([python, "-m", "django", "startproject", "site_of_yours", folder], cwd=folder)
    for name in ("settings.py", "urls.py"):
        _paste(folder / "site_of_yours" / name)
    (folder / "site_of_yours" / "tests.py").write_text(TRY_IT)
    run([python, "manage.py", "migrate", "--verbosity=0"], cwd=folder)
    run([python, "manage.py", "check", "--fail-level=ERROR"], cwd=folder)
    run([python, "manage.py", "test", "--verbosity=0", "site_of_yours"], cwd=folder)
    found = run([python, "manage.py", "findstatic", "django_tmibff/tmibff.js"], cwd=folder)
    assert str(python.parents[1] / "lib") in found, found


def _paste(file: Path) -> None:
    """Append the README's block that begins with the file's name."""
    _, _, rest = README.partition(f"```python\n# {file.name}\n")
    code, _, _ = rest.partition("```")
    assert code, file.name
    file.write_text(f"{file.read_text()}\n{code}")


if __name__ == "__main__":
    main()
