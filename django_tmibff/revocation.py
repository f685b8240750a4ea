"""Revocation of refresh tokens at the authorization server (RFC 7009)."""

import logging

from . import oauth
from .contents import Contents
from .exceptions import TokenError

logger = logging.getLogger(__name__)


def revoke(contents: Contents) -> bool:
    """Revoke the refresh token at the authorization server; false when that is still owed (B4)."""
    if contents.refresh_token is None:
        return True
    try:
        oauth.revoke(oauth.provider(contents.provider), contents.refresh_token)
    except TokenError as error:
        logger.warning("token set %s not revoked: %s", contents.handle, error.error)
        return False
    logger.info("token set %s revoked", contents.handle)
    return True
