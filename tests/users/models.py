"""A user model as projects have them: a UUID key, a name of its own, no e-mail."""

import uuid

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models


class MemberManager(BaseUserManager["Member"]):
    """Makes members."""

    def create_user(self, nickname: str, password: str | None = None, **fields: str) -> "Member":
        """Return a new member; ``fields`` that the model does not have are left out."""
        member = self.model(nickname=nickname)
        member.set_password(password)
        member.save()
        return member


class Member(AbstractBaseUser):
    """Somebody who signs in."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    nickname = models.CharField(max_length=200, unique=True)
    is_active = models.BooleanField(default=True)

    USERNAME_FIELD = "nickname"
    objects = MemberManager()

    def __str__(self) -> str:
        return self.nickname
