"""Real servers for tests: providers, databases, caches, gunicorn, and a browser's requests."""
