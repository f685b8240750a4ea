"""docs/openapi.yaml, read: what it describes, and the same as schemathesis takes it."""

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import schemathesis
import yaml
from schemathesis.checks import CHECKS, load_all_checks

FILE = Path(__file__).resolve().parents[1] / "docs" / "openapi.yaml"
DESCRIPTION: Mapping[str, Any] = yaml.safe_load(FILE.read_text())
ORDERS, MAIL = "https://api.example/orders", "https://api.example/mail"
ORIGIN = "https://localhost"  # The only host to which schemathesis sends cookies.
LOGIN, CALLBACK = "/bff/login", "/bff/callback/{provider}"

load_all_checks()


def _check(name: str) -> Any:
    [check] = CHECKS.get_by_names([name])
    return check


# The draft wants 400 where schemathesis expects 401 (X2).
_UNAUTHORIZED = _check("ignored_auth")
_EXCLUDED = {
    # A form knows texts alone: what is an object in place of one is lost on its way.
    "POST /.well-known/bff-token": [_check("negative_data_rejection")],
    # No token that is made up is signed by our provider.
    "POST /bff/backchannel-logout": [_check("positive_data_acceptance")],
    # Django's CSRF check answers before the view, with 403.
    f"GET {LOGIN}": [_check("unsupported_method")],
    f"GET {CALLBACK}": [_check("unsupported_method")],
}


def check(case: Any, response: Any) -> None:
    """Raise ``FailureGroup`` unless that is a described answer to ``case``."""
    case.validate_response(
        response, excluded_checks=[_UNAUTHORIZED, *_EXCLUDED.get(case.operation.label, [])]
    )


def of_this_site(description: Any = None) -> Any:
    """Return the description with the tests' site's own values where it speaks of all sites."""
    description = description or yaml.safe_load(FILE.read_text())
    parts = description["components"]
    parts["parameters"]["Origin"]["schema"] = {"const": ORIGIN}
    parts["schemas"]["Resources"]["items"] = {"enum": ["", ORDERS, MAIL]}
    parts["schemas"]["Scope"] = {"enum": ["", "openid", "openid email", "calendar"]}
    parameter(description, CALLBACK, "provider")["schema"] = {"const": "partner"}
    parameter(description, LOGIN, "provider")["schema"] = {"enum": ["", "partner"]}
    # No pattern says what is printable; and what other sites begin ignores what is wrong with it.
    for name in ("login_hint", "Sec-Fetch-Site"):
        _parameters(description, LOGIN).remove(parameter(description, LOGIN, name))
    schema = schemathesis.openapi.from_dict(description)
    # The session's cookie is the test's to send.
    schema.config.generation.update(with_security_parameters=False)
    schema.config.checks.positive_data_acceptance.expected_statuses = ["200", "302"]
    return schema


def operations(schema: Any) -> dict[str, Any]:
    """Return the operations by their ids."""
    found = (result.ok() for result in schema.get_all_operations())
    return {operation.definition.raw["operationId"]: operation for operation in found}


def followed(part: Any) -> Any:
    """Return what ``part`` refers to, or itself."""
    while "$ref" in part:
        part = reduce(getitem, part["$ref"].removeprefix("#/").split("/"), DESCRIPTION)
    return part


def responses() -> Iterator[tuple[str, str, Any]]:
    """Yield every response there is in the description: operation, status, and what it says."""
    for operations_of_path in DESCRIPTION["paths"].values():
        for operation in operations_of_path.values():
            for status, response in operation["responses"].items():
                yield operation["operationId"], status, followed(response)


def errors_of(response: Any) -> list[str]:
    """Return the words for errors that the app itself has for that answer; none for successes."""
    content = response.get("content", {}).get("application/json", {})
    error = followed(content.get("schema", {})).get("properties", {}).get("error", {})
    ours = error.get("anyOf", [error])[0]
    return ours.get("enum") or [ours["const"]] if ours else []


def _parameters(description: Any, path: str) -> Any:
    return description["paths"][path]["get"]["parameters"]


def parameter(description: Any, path: str, name: str) -> Any:
    """Return that parameter of the GET at ``path``."""
    return next(one for one in _parameters(description, path) if one.get("name") == name)
