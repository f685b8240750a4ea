"""JSON as RFC 8259 has it, from servers that nobody has to trust."""

import json
from typing import Any, NoReturn


def loads(body: bytes | str, *, unique_names: bool = False) -> Any:
    """Return the body's JSON; raises ``ValueError``, also for what only Python takes for JSON.

    ``unique_names``: no object may have two members of one name, of which other parsers may take
    another than we do.
    """
    hook = _unique if unique_names else None
    try:
        return json.loads(body, parse_constant=_refuse_constant, object_pairs_hook=hook)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("an object has two members of one name")
    return found
