"""The app's configuration."""

from django.apps import AppConfig
from django.core import checks as django_checks
from django.utils.translation import gettext_lazy as _


class TMIBFFConfig(AppConfig):
    """Registers the system checks and listens to Django's sign-in and sign-out."""

    name = "django_tmibff"
    verbose_name = _("Access tokens for pages")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, deferral, receivers

        receivers.connect()
        deferral.connect()
        for check, options in checks.CHECKS:
            # By the first all of them are run, and no other.
            tags = (self.label, *options.get("tags", ()))
            django_checks.register(check, *tags, deploy=options.get("deploy", False))
