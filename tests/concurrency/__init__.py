"""The concurrency bench: real processes, a strict authorization server, and everything goes wrong.

``python -m tests.concurrency`` runs all of it and writes the figures to docs/reliability.md.
"""
