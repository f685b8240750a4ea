"""Follows docs/tutorial.md word for word, as a reader does: an empty folder, and a browser."""
