"""The tables, of whichever user model there is."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies: ClassVar = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            "Staff", [], options={"proxy": True}, bases=(settings.AUTH_USER_MODEL,)
        ),
        migrations.CreateModel(
            "Employee",
            [
                ("number", models.CharField(max_length=20, primary_key=True, serialize=False)),
                (
                    "user",
                    models.OneToOneField(
                        settings.AUTH_USER_MODEL,
                        models.CASCADE,
                        parent_link=True,
                        related_name="+",
                    ),
                ),
            ],
            bases=(settings.AUTH_USER_MODEL,),
        ),
    ]
