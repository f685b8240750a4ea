"""The demo's API: a Django project of its own that trusts the OpenID Provider's tokens."""
