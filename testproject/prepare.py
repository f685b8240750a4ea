"""Brings the app's database up to date: ``python -m testproject.prepare``."""

import os

import django

# No secret: it is in the repository, and the demo answers on loopback only.
OPERATOR, PASSWORD = "operator", "looking-glass"


def prepare() -> None:
    """Make the tables, and the operator; change nobody's password."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0)
    users = get_user_model().objects
    if not users.filter(username=OPERATOR).exists():
        users.create_superuser(OPERATOR, password=PASSWORD)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    # Models can be imported only after this, hence the imports inside of the function.
    django.setup()
    prepare()
