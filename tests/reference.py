"""Writes what the reference in docs/ takes from the code: ``python -m tests.reference``.

Types, defaults and checks of docs/settings.md; options of docs/commands.md. The rest is text.
"""

import argparse
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import django
from django.core.checks import run_checks
from django.core.management import load_command_class
from django.core.management.base import BaseCommand
from django.test import override_settings

from django_tmibff import conf
from django_tmibff.conformance.__main__ import _parser as conformance_parser
from tests import settings_fast_path

DOCS = Path(__file__).resolve().parents[1] / "docs"
SETTINGS, COMMANDS = DOCS / "settings.md", DOCS / "commands.md"

# One value for each setting that cannot be right.
WRONG: dict[str, Any] = {
    "TMIBFF_STORE": "nowhere",
    "TMIBFF_CACHE_ALIAS": "nowhere",
    "TMIBFF_ENCRYPTION_KEYS": ["no key"],
    "TMIBFF_RESOURCES": ["orders"],
    "TMIBFF_SCOPES": "orders:read",
    "TMIBFF_DEFAULT_RESOURCE": "orders",
    "TMIBFF_DEFAULT_SCOPE": 'a"quote',
    "TMIBFF_ORIGINS": ["api.example"],
    "TMIBFF_NARROWER_SCOPE": "perhaps",
    "TMIBFF_REQUIRED_HEADER": "X-Requested-With: fetch",
    "TMIBFF_END_SESSION_ON_INVALID_GRANT": "perhaps",
    "TMIBFF_SESSION_INFO": "nowhere.session_info",
    "TMIBFF_SESSION_INFO_CLAIMS": "name",
    "TMIBFF_CLIENT_AUTH": {"method": "none"},
    "TMIBFF_PROVIDERS": {"partner": {"no": "member"}},
    "TMIBFF_WARM_SKIPS": "nowhere.Middleware",
    "TMIBFF_DPOP": "perhaps",
    "TMIBFF_ACCEPT_UNVERIFIED_EMAIL": "perhaps",
    **{name: -1 for name, default in conf.DEFAULTS.items() if type(default) is int},
}

# Where all of them mean something, whatever settings the tests run with.
_SITE = {
    "MIDDLEWARE": settings_fast_path.MIDDLEWARE,
    "TMIBFF_WARM_SKIPS": settings_fast_path.TMIBFF_WARM_SKIPS,
}

_HEADING = re.compile(
    r"^### `(?P<name>TMIBFF_\w+)`\n\n\| type \| default \| a wrong value \|\n(?:\|.*\n)+",
    re.MULTILINE,
)
_MEMBER = re.compile(
    r"^\| `(?P<name>[a-z_]+)`(?: \|[^|\n]*){3}\| (?P<text>[^|\n]+) \|$", re.MULTILINE
)
_COMMAND = re.compile(r"^## `(?P<name>[^`]+)`\n\n(?:>.*\n)+\n(?:\|.*\n)+", re.MULTILINE)

_WORDS = {
    "str": "text",
    "bytes": "text",
    "int": "a number",
    "float": "seconds",
    "bool": "`True` or `False`",
    "ClientAuth": "a mapping",
    "NoneType": "`None`",
}


def settings_page(page: str) -> str:
    """Return docs/settings.md with what the code says now."""
    return _MEMBER.sub(_member, _HEADING.sub(_setting, page))


def commands_page(page: str) -> str:
    """Return docs/commands.md with what the commands' own help says now."""
    return _COMMAND.sub(_command, page)


def _setting(match: re.Match[str]) -> str:
    name = match["name"]
    default = conf.DEFAULTS[name]
    facts = f"| {_type(name, default)} | {_shown(default)} | {_found(name)} |"
    head = "| type | default | a wrong value |\n|---|---|---|"
    return f"### `{name}`\n\n{head}\n{facts}\n"


def _type(name: str, default: Any) -> str:
    if name in ("TMIBFF_PROVIDERS", "TMIBFF_CLIENT_AUTH"):
        said = "a mapping"
    else:
        said = _in_words(get_type_hints(_property(name).fget)["return"])
    if isinstance(default, list) and said == "a mapping":
        said = "a list of strings, or a mapping"
    if name.endswith("_DAYS"):
        said = said.replace("seconds", "days")
    return f"{said}, or `None`" if default is None and "None" not in said else said


def _property(name: str) -> Any:
    plain = name.removeprefix("TMIBFF_").lower()
    return getattr(conf.Settings, {"revocation_days": "revocation_seconds"}.get(plain, plain))


def _in_words(hint: Any) -> str:
    """Return what a type is called by who writes settings."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f'`"{choice}"`' for choice in arguments)
    if origin is None:
        return _WORDS[hint.__name__]
    if origin.__name__ in ("Sequence", "frozenset", "tuple"):
        return "a list of strings"
    if origin.__name__ == "Mapping":
        return "a mapping"
    return ", or ".join(dict.fromkeys(map(_in_words, arguments)))


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"`{json.dumps(one)}`" for one in value)
    return f"`{json.dumps(value)}`" if isinstance(value, str) else f"`{value!r}`"


def _found(name: str) -> str:
    """Return the checks that find a wrong value of that setting."""
    store = "cached_db" if name.startswith("TMIBFF_CACHE_") else "db"
    usual = {**_SITE, "TMIBFF_STORE": f"django_tmibff.stores.{store}"}
    with override_settings(**usual):
        before = set(_messages())
    with override_settings(**{**usual, name: WRONG[name]}):
        ids = sorted({found for found, _ in set(_messages()) - before})
    return ", ".join(f"[{one}](checks.md#{one.lower()})" for one in ids) or "no check finds it"


def _messages() -> Iterator[tuple[str, str]]:
    for message in run_checks(tags=["django_tmibff"], include_deployment_checks=True):
        yield str(message.id).removeprefix("django_tmibff."), message.msg


def _member(match: re.Match[str]) -> str:
    name = match["name"]
    [hint] = [
        get_type_hints(conf.Provider)[f.name] for f in fields(conf.Provider) if f.name == name
    ]
    usual = conf.OIDC_NAMES.get(name)
    default = f"`{usual}`" if usual else _shown(conf.settings._oidc_provider()[name])
    row = [f"`{name}`", _in_words(hint), default, _without(name, default), match["text"]]
    return f"| {' | '.join(row)} |"


def _without(name: str, default: str) -> str:
    """Return what a member is that a provider with an issuer of its own does not say."""
    if name == "issuer":
        return "—"
    if name not in conf._NOTHING_OF_ANOTHER_SERVER:
        return default
    found = conf._NOTHING_OF_ANOTHER_SERVER[name]
    return f'`"{found.method}"`' if isinstance(found, conf.ClientAuth) else "nothing"


def _command(match: re.Match[str]) -> str:
    name = match["name"]
    rows = "".join(_option(action) for action in options(name))
    help_text = " ".join((parser_of(name).description or "").split())
    return f"## `{name}`\n\n> {help_text}\n\n| option | default | |\n|---|---|---|\n{rows}"


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a management command, or of ``python -m``."""
    if name.startswith("python -m"):
        return conformance_parser()
    return load_command_class("django_tmibff", name).create_parser("manage.py", name)


def options(name: str) -> list[argparse.Action]:
    """Return the options of a command, without those that all of Django's have."""
    usual = {action.dest for action in BaseCommand().create_parser("manage.py", "any")._actions}
    own = [action for action in parser_of(name)._actions if action.dest not in usual]
    return [action for action in own if action.help != argparse.SUPPRESS]


def _option(action: argparse.Action) -> str:
    spelled = ", ".join(action.option_strings) or action.dest
    value = "" if action.nargs == 0 or not action.option_strings else f" {_metavar(action)}"
    return (
        f"| `{spelled}{value}` | {_default(action)} | {' '.join((action.help or '').split())} |\n"
    )


def _default(action: argparse.Action) -> str:
    if action.required:
        return "required"
    if action.default == math.inf:
        return "no end"
    shows = action.nargs != 0 and action.default not in (None, "", [])
    return f"`{action.default}`" if shows else ""


def _metavar(action: argparse.Action) -> str:
    if action.choices and not action.metavar:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return str(action.metavar or action.dest.upper())


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    SETTINGS.write_text(settings_page(SETTINGS.read_text()))
    COMMANDS.write_text(commands_page(COMMANDS.read_text()))
