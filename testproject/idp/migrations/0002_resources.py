# ruff: noqa: RUF012  # as Django writes it


from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("idp", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="signin",
            name="resources",
            field=models.JSONField(default=list),
        ),
    ]
