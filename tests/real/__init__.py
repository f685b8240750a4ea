"""Real servers for tests: an OpenID Provider, PostgreSQL, gunicorn, and a browser's requests."""
