"""Where the authorization server of tests/settings.py is."""

ISSUER = "https://op.example"
TOKEN_ENDPOINT = f"{ISSUER}/token"
