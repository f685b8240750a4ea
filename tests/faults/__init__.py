"""What is down, what comes of it, and the page in the docs that says so."""
