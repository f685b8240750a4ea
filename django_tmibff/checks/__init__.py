"""System checks: what a site's settings would break, said before a user finds out.

docs/checks.md has a section for each id.
"""

from . import endpoints, session, sign_in, values
from .helpers import Checks

__all__ = ["CHECKS"]

CHECKS: Checks = (*endpoints.CHECKS, *session.CHECKS, *sign_in.CHECKS, *values.CHECKS)
