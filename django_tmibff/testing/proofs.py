"""What a page of a site with ``TMIBFF_DPOP`` sends along: proofs of a key of its own."""

from .. import dpop
from ..conf import DEFAULT_PROVIDER, settings
from ..own_key import OwnKey


class DPoPKey:
    """A page's key (RFC 9449); ``jkt`` is its thumbprint."""

    def __init__(self) -> None:
        """Make a key that no other page has."""
        self._key = OwnKey()
        self.jkt = dpop.thumbprint(self._key.jwk)

    def proof(self, *, nonce: str | None = None, provider: str = DEFAULT_PROVIDER) -> str:
        """Return the request header ``DPoP`` for one request to bff-token.

        ``nonce``: what the authorization server wants repeated; ``provider``: where the user has
        signed in, a name in ``TMIBFF_PROVIDERS``.
        """
        endpoint = settings.provider(provider).token_endpoint or ""
        return self._key.proof("POST", endpoint, nonce=nonce)

    def proof_for_api(
        self, method: str, url: str, access_token: str, *, nonce: str | None = None
    ) -> str:
        """Return the request header ``DPoP`` for one request to an API, with that token."""
        return self._key.proof(method, url, nonce=nonce, access_token=access_token)
