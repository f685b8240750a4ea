"""Brings the OpenID Provider's database up to date: ``python -m testproject.idp.prepare``."""

import os

import django

from testproject.idp.accounts import API, APP, PEOPLE, Client


def prepare() -> None:
    """Make the tables, the people and the clients that are missing; change nobody's password."""
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0)
    _make_people()
    _make_clients()


def _make_people() -> None:
    from django.contrib.auth import get_user_model

    users = get_user_model().objects
    for person in PEOPLE:
        if not users.filter(username=person.username).exists():
            users.create_user(
                person.username,
                person.email,
                person.password,
                first_name=person.first_name,
                last_name=person.last_name,
            )


def _make_clients() -> None:
    from django.conf import settings

    _make_client(
        APP,
        name="Orders",
        redirect_uris=f"{settings.DEMO_APP}/oidc/callback/",
        post_logout_redirect_uris=f"{settings.DEMO_APP}/",
        algorithm="RS256",
        skip_authorization=True,
    )
    # It only asks about tokens; without a redirect URI it gets none itself.
    _make_client(API, name="Orders API")


def _make_client(client: Client, **fields: object) -> None:
    from oauth2_provider.models import Application

    Application.objects.update_or_create(
        client_id=client.client_id,
        defaults={
            "client_secret": client.secret,
            # A password's slow hash would slow down every call to the API.
            "hash_client_secret": False,
            "client_type": Application.CLIENT_CONFIDENTIAL,
            "authorization_grant_type": Application.GRANT_AUTHORIZATION_CODE,
            **fields,
        },
    )


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.idp.settings")
    # Models can be imported only after this, hence the imports inside of the functions.
    django.setup()
    prepare()
