"""The attack battery: all that other pages in a victim's browser can do to the endpoints."""
