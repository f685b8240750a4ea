"""A module whose TokenStore is none."""


class TokenStore:
    """Not a BaseStore."""
