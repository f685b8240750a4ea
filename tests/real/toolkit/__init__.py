"""The demo's OpenID Provider with django-oauth-toolkit as it comes."""

from pathlib import Path

from tests.real.demo import Demo


class StockDemo(Demo):
    """The demo, but its provider is django-oauth-toolkit in its stock configuration."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of all data and logs."""
        super().__init__(folder)
        self.servers["idp"].env["DJANGO_SETTINGS_MODULE"] = f"{__name__}.settings"
