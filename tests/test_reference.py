"""The reference in docs/: what it says of the code is what the code says."""

import ast
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import jsonschema_rs
import pytest
from django.core.checks import run_checks
from django.core.management import get_commands
from django.dispatch import Signal

import django_tmibff
from django_tmibff import conf, exceptions, renewal, signals, stores, tokens, urls
from django_tmibff.admin import phrases
from django_tmibff.doctor import sessions
from django_tmibff.exceptions import AuthorizationServerRefused, TokenError
from tests.openapi import DESCRIPTION, followed
from tests.reference import COMMANDS, DOCS, SETTINGS, commands_page, settings_page

PACKAGE = Path(django_tmibff.__file__).parent
SOURCES = {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
CODE = re.compile(r"`([^`]+)`")


def section(page: str, title: str) -> str:
    """Return what is under that heading, up to the next one of whatever level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the tables in ``text``, without their heads."""
    tables = re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def firsts(text: str) -> list[str]:
    """Return what is named in the first column of the tables in ``text``."""
    return [name for row in rows(text) for name in CODE.findall(row[0])]


def nodes(kind: type[Any]) -> Iterator[Any]:
    """Yield the package's syntax of that kind."""
    for tree in SOURCES.values():
        yield from (node for node in ast.walk(tree) if isinstance(node, kind))


class TestSettings:
    PAGE = SETTINGS.read_text()

    def test_types_defaults_and_checks_are_the_codes(self) -> None:
        """``python -m tests.reference`` writes them anew."""
        assert settings_page(self.PAGE) == self.PAGE

    def test_every_setting_has_a_section_and_no_other(self) -> None:
        named = re.findall(r"^### `(\w+)`$", self.PAGE, re.MULTILINE)
        assert sorted(named) == sorted(conf.DEFAULTS)

    def test_every_member_of_a_provider_has_a_row(self) -> None:
        named = firsts(section(self.PAGE, "`TMIBFF_PROVIDERS`"))
        assert named == [one.name for one in fields(conf.Provider) if one.name != "name"]

    def test_every_member_of_a_clients_authentication_has_a_row(self) -> None:
        named = firsts(section(self.PAGE, "`TMIBFF_CLIENT_AUTH`"))
        own = [name for name in named if not name.startswith("TMIBFF")]
        assert set(own) - {"None"} >= {one.name for one in fields(conf.ClientAuth)}

    def test_every_choice_of_narrower_scope_is_told(self) -> None:
        named = firsts(section(self.PAGE, "`TMIBFF_NARROWER_SCOPE`"))
        assert set(named) == {f'"{choice}"' for choice in get_args(conf.NarrowerScope)}

    def test_every_setting_of_mozilla_django_oidc_that_is_read_is_told(self) -> None:
        texts = " ".join(node.value for node in nodes(ast.Constant) if type(node.value) is str)
        read = set(re.findall(r"\bOIDC_[A-Z_]+\b", texts))
        assert read - {"OIDC_OP_AUTH_ENDPOINT"} == set(
            firsts(section(self.PAGE, "Settings of mozilla-django-oidc"))
        )

    def test_the_example_of_resources_can_be_used(self, settings: Any) -> None:
        settings.TMIBFF_RESOURCES = _code_of(self.PAGE)["TMIBFF_RESOURCES"]
        ids = {message.id for message in run_checks(tags=["django_tmibff"])}
        assert "django_tmibff.E002" not in ids


class TestCommands:
    PAGE = COMMANDS.read_text()

    def test_options_and_texts_are_the_commands_own(self) -> None:
        """``python -m tests.reference`` writes them anew."""
        assert commands_page(self.PAGE) == self.PAGE

    def test_every_command_has_a_section_and_no_other(self) -> None:
        ours = [name for name, app in get_commands().items() if app == "django_tmibff"]
        named = re.findall(r"^## `([^`]+)`$", self.PAGE, re.MULTILINE)
        assert sorted(named) == sorted([*ours, "python -m django_tmibff.conformance"])

    @pytest.mark.parametrize(
        ("name", "codes"),
        [
            ("purge_expired_tokens", {"0", "1", "2"}),
            ("reseal_tokens", {"0", "1"}),
            ("tmibff_discover", {"0", "1"}),
            ("tmibff_doctor", {"0", "1"}),
        ],
    )
    def test_every_exit_code_is_told(self, name: str, codes: set[str]) -> None:
        command = import_module(f"django_tmibff.management.commands.{name}")
        raised = {"0", *map(str, _return_codes(command))}
        assert {row[0] for row in rows(section(self.PAGE, f"`{name}`"))} >= {
            f"`{c}`" for c in codes
        }
        assert raised == codes


def _return_codes(module: Any) -> Iterator[int]:
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "CommandError":
            named = {word.arg: ast.unparse(word.value) for word in node.keywords}
            code = named.get("returncode", "1")
            yield int(code) if code.isdigit() else getattr(module, code)


def _errors(base: type[TokenError] = TokenError) -> Iterator[type[TokenError]]:
    for error in base.__subclasses__():
        if error.__module__ == exceptions.__name__:
            yield error
            yield from _errors(error)


ERRORS = {error.__name__: error for error in _errors()}
WORDS = sorted({error.error for error in ERRORS.values()})


def _text(node: ast.expr, tree: ast.AST) -> str | None:
    """Return the text that an expression makes, with … for what differs in it."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(v.value if isinstance(v, ast.Constant) else "…" for v in values)
        case ast.Name(id=name):
            return _assigned(name, tree) if name.isupper() else None
    return None


def _assigned(name: str, tree: ast.AST) -> str | None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return _text(node.value, tree)
    return None


def _texts(*classes: str) -> set[str]:
    """Return what errors of these classes are made with, anywhere in the package."""
    made = {
        _text(node.args[0], tree)
        for tree in SOURCES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in classes and node.args
    }
    return {text for text in made if text}


def _texts_of(word: str) -> set[str]:
    classes = [name for name, error in ERRORS.items() if error.error == word]
    usual = {ERRORS[name].default_description for name in classes}
    return {text for text in usual | _texts(*classes) if text}


class TestErrors:
    PAGE = (DOCS / "errors.md").read_text()

    def test_every_word_of_the_apps_own_is_told(self) -> None:
        named = firsts(section(self.PAGE, "Which there are").partition("| [any other]")[0])
        assert sorted(named) == WORDS
        assert re.findall(r"^### `(\w+)`$", self.PAGE, re.MULTILINE) == named

    def test_where_a_sign_in_helps_is_told(self) -> None:
        told = {row[0] for row in rows(section(self.PAGE, "Which there are")) if row[2] == "yes"}
        helped = {error.error for error in ERRORS.values() if error.sign_in_helps}
        assert told == {f"[`{word}`](#{word})" for word in helped}

    @pytest.mark.parametrize("word", WORDS)
    def test_every_text_of_each_is_told_and_no_other(self, word: str) -> None:
        told = firsts(section(self.PAGE, f"`{word}`"))
        assert sorted(told) == sorted(_texts_of(word))

    def test_every_reason_against_a_logout_token_is_told(self) -> None:
        told = firsts(section(self.PAGE, "Why a logout token is refused"))
        tree = SOURCES[PACKAGE / "logout_token.py"]
        later = {
            _text(node.value, tree)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "failure"
        }
        assert set(told) == _texts("LogoutTokenRefused") | later

    def test_where_no_sign_in_helps_is_told(self) -> None:
        told = firsts(section(self.PAGE, "The authorization server's own"))
        assert set(told) == AuthorizationServerRefused._SIGN_IN_CANNOT_HELP

    def test_what_is_remembered_is_told(self) -> None:
        told = section(self.PAGE, "The authorization server's own").partition("Remembered")[2]
        words = CODE.findall(told.partition(";")[0])
        assert set(words) - {"TMIBFF_REFUSAL_SECONDS"} == renewal._REFUSED_FOR_ONE_KEY


SIGNALS = [name for name, found in vars(signals).items() if isinstance(found, Signal)]


class TestSignals:
    PAGE = (DOCS / "signals.md").read_text()

    def test_every_signal_has_a_section_and_no_other(self) -> None:
        assert re.findall(r"^## `(\w+)`$", self.PAGE, re.MULTILINE) == SIGNALS

    @pytest.mark.parametrize("name", SIGNALS)
    def test_its_arguments_are_those_that_are_sent(self, name: str) -> None:
        sent = [
            {word.arg for word in node.keywords}
            for node in nodes(ast.Call)
            if ast.unparse(node.func) == f"signals.{name}.send_robust"
        ]
        told = section(self.PAGE, f"`{name}`").partition("Arguments: ")[2]
        named = {word for word in CODE.findall(told) if word.isidentifier()} - {"None"}
        assert sent
        assert all(arguments == named for arguments in sent)

    def test_the_example_hears_of_an_end(
        self, signed_in: Any, token_set: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        receiver = _code_of(self.PAGE)["note_end"]
        signed_in()
        tokens.end(token_set(), "invalid_grant")
        assert signals.session_ended.disconnect(receiver)
        # Django logs what a receiver raises.
        assert not [record for record in caplog.records if record.name == "django.dispatch"]


def test_every_reason_why_token_sets_end_is_told_and_no_other() -> None:
    table = rows((DOCS / "logout.md").read_text().partition("## From the page")[0])
    told = {reason for row in table for reason in CODE.findall(row[1])}
    assert told - {"reason"} == phrases.REASONS | {"invalid_grant", sessions.END_REASON}


class TestPython:
    PAGE = (DOCS / "python-api.md").read_text()
    SIGNATURES = re.findall(r"^#+ `([\w.]+)(\(.*\))`$", PAGE, re.MULTILINE)

    @pytest.mark.parametrize(("path", "signature"), SIGNATURES, ids=lambda value: value)
    def test_every_signature_is_the_codes(self, path: str, signature: str) -> None:
        assert _signature(_named(path)) == signature

    def test_every_verb_is_told(self) -> None:
        told = {path.rpartition(".")[2] for path, _ in self.SIGNATURES}
        assert told >= {name for name in tokens.__all__ if name.islower()}

    def test_a_store_has_the_methods_that_are_told(self) -> None:
        told = firsts(section(self.PAGE, "A store of your own"))
        methods = {name: getattr(stores.BaseStore, name) for name in _abstract()}
        assert sorted(told) == sorted(
            name + _signature(method).replace("(self, ", "(") for name, method in methods.items()
        )

    def test_every_error_and_its_word_is_told(self) -> None:
        table = {
            name: CODE.findall(row[1])
            for row in rows(section(self.PAGE, "TokenError"))
            for name in CODE.findall(row[0])
            if name in ERRORS
        }
        # The authorization server's own words are any.
        own = {name: [error.error] for name, error in ERRORS.items()}
        assert table == {**own, "AuthorizationServerRefused": []}

    @pytest.mark.parametrize(
        ("title", "kind"),
        [
            ("What they return", [tokens.AccessToken, tokens.Description, tokens.TokenDescription]),
            ("TokenError", [TokenError]),
        ],
    )
    def test_members_that_are_told_are_there(self, title: str, kind: list[type[Any]]) -> None:
        told = {name for name in firsts(section(self.PAGE, title)) if name not in ERRORS}
        there = {name for one in kind for name in (*dir(one), *inspect.get_annotations(one))}
        assert told
        assert told <= there | {"description"}

    def test_every_name_there_is_can_be_imported(self) -> None:
        for name in firsts(section(self.PAGE, "Signing in and out")):
            if name.count("."):
                assert _named(name)

    def test_the_code_works(
        self, signed_in: Any, user: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_RESOURCES = ["https://api.example/orders"]
        api = authorization_server.mocker.get("https://api.example/orders", json=["tea"])
        code = _code_of(self.PAGE)
        page = signed_in()
        request = page.request_of(user)
        assert code["orders_of"](request) == ["tea"]
        assert api.last_request.headers["Authorization"] == "Bearer fresh-1"
        assert code["token_or_sign_in"](request).value == "canary-access-token"
        assert [one.user for one in code["living_sessions_of"](user)] == [user]
        assert code["session_info"](request)["is_staff"] is False
        page.session.flush()
        tokens.end(request, "test")
        assert code["token_or_sign_in"](request) is None


def _code_of(page: str) -> dict[str, Any]:
    """Return the names that the page's Python code defines."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)  # noqa: S102  # ours
    return names


def _abstract() -> frozenset[str]:
    return frozenset(stores.BaseStore.__abstractmethods__)


def _named(path: str) -> Any:
    module, *attributes = path.split(".")
    found: Any = import_module(f"django_tmibff.{module}")
    for attribute in attributes:
        found = getattr(found, attribute)
    return found


def _signature(function: Any) -> str:
    """Return the signature as the pages write it: without types, with names in double quotes."""
    known = inspect.signature(function)
    bare = [one.replace(annotation=one.empty) for one in known.parameters.values()]
    text = str(known.replace(parameters=bare, return_annotation=known.empty))
    return text.replace("'", '"')


class TestEndpoints:
    PAGE = (DOCS / "endpoints.md").read_text()

    def test_every_path_has_a_section_and_its_name_is_told(self) -> None:
        titles = re.findall(r"^## `(/.*)`$", self.PAGE, re.MULTILINE)
        assert titles == list(DESCRIPTION["paths"])
        told = CODE.findall(self.PAGE)
        assert {str(one.name) for one in urls.urlpatterns} <= set(told)

    @pytest.mark.parametrize("path", DESCRIPTION["paths"])
    def test_everything_that_is_described_is_told(self, path: str) -> None:
        """Parameters and headers of each, as the OpenAPI description has them."""
        common = section(self.PAGE, "What the three for `fetch()` have in common")
        told = section(self.PAGE, f"`{path}`") + common
        for operation in DESCRIPTION["paths"][path].values():
            for parameter in map(followed, operation.get("parameters", [])):
                assert f"`{parameter['name']}`" in told or parameter["in"] == "path"
            for response in map(followed, operation["responses"].values()):
                for header in set(response.get("headers", {})) - {"Location"}:
                    assert header in told

    def test_its_answers_are_such_as_are_described(self) -> None:
        parts = {"components": DESCRIPTION["components"]}
        for text, name in zip(
            re.findall(r"```json\n(.*?)```", self.PAGE, re.DOTALL),
            ["Token", "TokenRefusal", "SessionInfo", "SignedOut"],
            strict=True,
        ):
            schema = {"$ref": f"#/components/schemas/{name}", **parts}
            jsonschema_rs.validator_for(schema).validate(json.loads(text))
