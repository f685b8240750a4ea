"""JSON as RFC 8259 has it, from servers that nobody has to trust."""

import json
from typing import Any, NoReturn


def loads(body: bytes) -> Any:
    """Return the body's JSON; raises ``ValueError``, also for what only Python takes for JSON."""
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
