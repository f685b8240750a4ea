# ruff: noqa: RUF012  # as Django writes it

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="SignIn",
            fields=[
                ("token_family", models.UUIDField(primary_key=True, serialize=False)),
                ("scope", models.TextField()),
                (
                    "access_tokens",
                    models.ManyToManyField(
                        related_name="sign_in", to=settings.OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL
                    ),
                ),
            ],
        ),
    ]
