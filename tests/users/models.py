"""A user model as projects have them: a UUID key, a name of its own, no e-mail."""

import uuid

from django.contrib.auth.models import (
    AbstractBaseUser,
    BaseUserManager,
    Group,
    Permission,
    PermissionsMixin,
)
from django.db import models


class MemberManager(BaseUserManager["Member"]):
    """Makes members."""

    def create_user(self, nickname: str, password: str | None = None, **fields: str) -> "Member":
        """Return a new member; ``fields`` that the model does not have are left out."""
        member = self.model(nickname=nickname)
        member.set_password(password)
        member.save()
        return member


class Member(AbstractBaseUser, PermissionsMixin):
    """Somebody who signs in."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    nickname = models.CharField(max_length=200, unique=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    # Named apart from those of Django's own user model, which is there too. Without constraints:
    # an app without migrations gets its tables before the others.
    groups = models.ManyToManyField(Group, related_name="members", db_constraint=False)
    user_permissions = models.ManyToManyField(
        Permission, related_name="members", db_constraint=False
    )

    USERNAME_FIELD = "nickname"
    objects = MemberManager()

    def __str__(self) -> str:
        return self.nickname
