"""What projects make of the user model, whichever it is: a proxy, and a child with a table."""

from typing import Any

from django.contrib.auth import get_user_model
from django.db import models

User: Any = get_user_model()


class Staff(User):
    """Users as an admin of their own shows them."""

    class Meta:
        proxy = True

    @classmethod
    def of(cls, user: Any) -> Any:
        """Return that user."""
        return cls.objects.get(pk=user.pk)


class Employee(User):
    """A user with more, under a key of its own."""

    number = models.CharField(max_length=20, primary_key=True)
    user = models.OneToOneField(User, models.CASCADE, parent_link=True, related_name="+")

    @classmethod
    def of(cls, user: Any) -> Any:
        """Return that user, who becomes one."""
        cls(number="7", user=user).save_base(raw=True)
        return cls.objects.get(user=user)
