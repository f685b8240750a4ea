"""``TokenSet``, the record of one sign-in, with its lease; ``Identity`` and ``Note``."""

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db import (
    InterfaceError,
    NotSupportedError,
    OperationalError,
    connections,
    models,
    router,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

# In all some seconds, as a restart takes.
_PAUSES_OF_RELEASE = (0.1, 0.5, 1.0, 2.0, None)


def in_transaction() -> bool:
    """Return whether the database of token sets is in a transaction, tests' own exempt.

    As ``atomic(durable=True)`` sees it.
    """
    connection = connections[router.db_for_write(TokenSet)]
    blocks: list[Any] = connection.atomic_blocks
    by_hand = connection.connection is not None and not blocks and not connection.autocommit
    return by_hand or bool(blocks and not blocks[-1]._from_testcase)


def hand_back_pooled_connection() -> None:
    """Leave a pool's connection to others while this thread waits for something else."""
    connection = connections[router.db_for_write(TokenSet)]
    if connection.settings_dict["OPTIONS"].get("pool") and not connection.in_atomic_block:
        connection.close()


def use_fresh_connection() -> None:
    """Let the next query make a new connection, unless a transaction needs this one."""
    connection = connections[router.db_for_write(TokenSet)]
    if not connection.in_atomic_block:
        connection.close()


def rows_of(model: type[Any]) -> models.QuerySet[Any]:
    """Return all rows of that table, where they are written."""
    return models.QuerySet(model, using=router.db_for_write(model))


def delete_rows(rows: models.QuerySet[Any]) -> int:
    """Delete rows but those that somebody has locked, without signals; return how many."""
    connection = connections[rows.db]
    with transaction.atomic(using=rows.db):
        if connection.features.has_select_for_update_skip_locked:
            free = rows.select_for_update(skip_locked=True).values("pk")
            # MySQL cannot delete from a table that the same statement reads.
            in_one = connection.features.update_can_self_select
            keys = free if in_one else list(free.values_list("pk", flat=True))
            rows = rows_of(rows.model).filter(pk__in=keys)
        return rows._raw_delete(rows.db) or 0


def to_datetime(seconds: float | None) -> datetime | None:
    """Return that time for a model's column, whatever ``USE_TZ`` says."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return moment if timezone.is_aware(timezone.now()) else timezone.make_naive(moment)


def as_column(value: object) -> str:
    """Return a claim as its column takes it: databases refuse NUL and lone surrogates."""
    if not isinstance(value, str):
        return ""
    return value.replace("\0", "").encode(errors="replace").decode()[:255]


class NowMilliseconds(models.Func):
    """The database server's clock in milliseconds since the epoch: hosts' own clocks differ."""

    output_field = models.BigIntegerField()

    def as_sql(
        self, compiler: Any, connection: BaseDatabaseWrapper, *args: Any, **context: Any
    ) -> Any:
        raise NotSupportedError(f"django_tmibff does not know the clock of {connection.vendor}.")

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # clock_timestamp, for now() stands still within a transaction.
        return "FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint", []

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # UTC, for the session's time zone may repeat an hour.
        return "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000", []

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)", []


@lru_cache
def _select_lease(alias: str) -> str:
    # Whoever waits asks this ten times in a second, and Django would make the SQL anew each time.
    table = connections[alias].ops.quote_name(TokenSet._meta.db_table)
    now, _ = TokenSet.objects.using(alias).query.get_compiler(alias).compile(NowMilliseconds())
    return (
        f"SELECT 1 FROM {table}"  # noqa: S608  # our names
        f" WHERE handle = %s AND ended_at IS NULL AND lease_until >= {now}"
    )


class TokenSetManager(models.Manager["TokenSet"]):
    """Token sets, read where they are written: a replica's old refresh token kills a grant."""

    def get_queryset(self) -> models.QuerySet["TokenSet"]:
        return super().get_queryset().using(self._db or router.db_for_write(self.model))

    def take_lease(self, handle: str, owner: str, seconds: float) -> bool:
        """Let ``owner`` alone renew this token set for ``seconds``; false while another may."""
        free = self._alive(handle).filter(lease_until__lt=NowMilliseconds())
        return self._lease(free, owner, seconds)

    def extend_lease(self, handle: str, owner: str, seconds: float) -> bool:
        """Start the lease's ``seconds`` anew; false when somebody else has taken it."""
        return self._lease(self._alive(handle).filter(lease_owner=owner), owner, seconds)

    def release_lease(self, handle: str, owner: str) -> None:
        """Give the lease back, if it is still ``owner``'s.

        A database that is just restarting is asked again for some seconds: a lease that stays
        would make everybody wait until it lapses.
        """
        mine = self.filter(handle=handle, lease_owner=owner)
        for pause in _PAUSES_OF_RELEASE:
            try:
                mine.update(lease_owner="", lease_until=0)
            except (InterfaceError, OperationalError):
                if pause is None or connections[mine.db].in_atomic_block:
                    raise
                use_fresh_connection()
                time.sleep(pause)
            else:
                return

    def is_leased(self, handle: str) -> bool:
        """Return whether somebody is renewing this token set."""
        alias = self.get_queryset().db
        with connections[alias].cursor() as cursor:
            cursor.execute(_select_lease(alias), [handle])
            return cursor.fetchone() is not None

    def clock(self) -> int:
        """Return the database's time, as ``lease_until`` has it; 0 without any token set.

        In a condition the clock is asked for each row, and no index helps.
        """
        return self.values_list(NowMilliseconds(), flat=True).first() or 0

    def claim(self, handle: str) -> bool:
        """Lock the row to the transaction's end; false when it does not exist, or has ended.

        An UPDATE rather than SELECT FOR UPDATE, for SQLite has none; and one that changes a value,
        if only by a millisecond: only then does MySQL's snapshot show the row as it is by now.
        """
        return self._lock(self._alive(handle))

    def claim_expired(self, handle: str) -> bool:
        """Lock the row to the transaction's end, if it has expired and nobody is renewing it."""
        expired = self._alive(handle).filter(expires_at__lte=timezone.now())
        return self._lock(expired.filter(lease_until__lt=NowMilliseconds()))

    def claim_version(self, handle: str, version: int) -> bool:
        """Lock the row to the transaction's end, ended or not; false if its version is another."""
        return self._lock(self.filter(handle=handle, version=version))

    def claim_revocation(self, handle: str, retry_at: Callable[[int], datetime]) -> bool:
        """Let the caller alone try to deliver the revocation that is owed; false if it is not due.

        ``retry_at`` returns when the next one may try, given how many have.
        """
        due = self.filter(handle=handle, revoke_at__lte=timezone.now())
        tries = due.values_list("revoke_count", flat=True).first()
        if tries is None:
            return False
        mine = due.filter(revoke_count=tries)
        return bool(mine.update(revoke_count=tries + 1, revoke_at=retry_at(tries + 1)))

    def compare_and_set(
        self,
        handle: str,
        *,
        version: int,
        owner: str | None,
        ended: bool = False,
        keeps_lease: bool = False,
        **columns: Any,
    ) -> bool:
        """Write ``columns``, if the row is of that ``version`` and has not ended, or has.

        ``owner`` must hold the lease, and gives it back unless it ``keeps_lease``; ``None``: the
        row is claimed or ``ended``, and the lease stays with whoever has it.
        """
        unchanged = self.filter(handle=handle, version=version, ended_at__isnull=not ended)
        if owner is not None:
            unchanged = unchanged.filter(lease_owner=owner)
            columns |= {} if keeps_lease else {"lease_owner": "", "lease_until": 0}
        return bool(unchanged.update(version=version + 1, **columns))

    def _alive(self, handle: str) -> models.QuerySet["TokenSet"]:
        return self.filter(handle=handle, ended_at=None)

    def _lock(self, rows: models.QuerySet["TokenSet"]) -> bool:
        return bool(rows.update(lease_until=F("lease_until") + 1))

    def _lease(self, rows: models.QuerySet["TokenSet"], owner: str, seconds: float) -> bool:
        until = NowMilliseconds() + int(seconds * 1000)
        return bool(rows.update(lease_owner=owner, lease_until=until))


def new_handle() -> str:
    """Return a name for a token set that nobody can guess: 128 random bits in lower-case hex."""
    return secrets.token_hex(16)


class TokenSet(models.Model):
    """The tokens of one sign-in: who, where, since when and how it goes; no secret in the clear."""

    handle = models.CharField(_("handle"), max_length=32, unique=True, default=new_handle)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        # A deleted user's refresh token still has to be revoked.
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
    )
    provider = models.CharField(_("provider"), max_length=100)
    issuer = models.CharField(_("issuer"), max_length=255, blank=True)
    subject = models.CharField(_("subject"), max_length=255, blank=True)
    sid = models.CharField(_("session at the provider"), max_length=255, blank=True)
    scope = models.TextField(_("scope"), blank=True)
    created_at = models.DateTimeField(_("signed in"), default=timezone.now)
    refreshed_at = models.DateTimeField(_("last renewed"), null=True, blank=True)
    access_expires_at = models.DateTimeField(_("access token expires"), null=True, blank=True)
    expires_at = models.DateTimeField(_("expires"))
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    end_reason = models.CharField(_("reason of the end"), max_length=100, blank=True)
    refresh_count = models.PositiveIntegerField(_("renewals"), default=0)
    last_error = models.CharField(_("last error"), max_length=100, blank=True)
    last_error_at = models.DateTimeField(_("time of the last error"), null=True, blank=True)
    revoke_at = models.DateTimeField(_("owed revocation due"), null=True, blank=True, db_index=True)
    revoke_count = models.PositiveIntegerField(_("tries of the revocation"), default=0)
    version = models.PositiveBigIntegerField(default=0)
    lease_owner = models.CharField(max_length=32, blank=True)
    lease_until = models.BigIntegerField(default=0)
    sealed = models.BinaryField(null=True)

    objects = TokenSetManager()

    class Meta:
        verbose_name = _("token set")
        verbose_name_plural = _("token sets")
        # Nobody makes or changes one by hand; what the admin can do has permissions of its own.
        default_permissions = ("view",)
        permissions = (
            ("renew_tokenset", _("Can renew tokens now")),
            ("end_tokenset", _("Can end and revoke token sets")),
            ("forget_tokenset", _("Can forget access tokens")),
        )
        indexes = (
            # The end of many at once, by what the provider calls them; the admin's search.
            models.Index(fields=["sid", "issuer"], name="tmibff_sid_issuer"),
            models.Index(fields=["subject", "issuer"], name="tmibff_subject_issuer"),
            # What is over: purge, and the admin.
            models.Index(fields=["expires_at", "ended_at"], name="tmibff_expires"),
            # The admin's lists and counters, in its order, at any number of rows.
            models.Index(fields=["created_at"], name="tmibff_created"),
            models.Index(fields=["provider", "created_at"], name="tmibff_provider"),
            models.Index(fields=["issuer", "created_at"], name="tmibff_issuer"),
            models.Index(fields=["last_error", "last_error_at"], name="tmibff_error"),
            models.Index(fields=["ended_at", "last_error_at", "expires_at"], name="tmibff_state"),
            models.Index(fields=["lease_until"], name="tmibff_lease"),
        )

    def __str__(self) -> str:
        return f"{self.provider}:{self.handle[:8]}"


class IdentityManager(models.Manager["Identity"]):
    """Finds users by what a provider calls them, where that is written: replicas lag."""

    def get_queryset(self) -> models.QuerySet["Identity"]:
        """Return all identities."""
        return super().get_queryset().using(router.db_for_write(Identity))

    def user_of(self, issuer: str, subject: str) -> Any:
        """Return the user whom that provider calls so, or ``None``."""
        found = self.filter(key=identity_key(issuer, subject)).select_related("user").first()
        return None if found is None else found.user

    def link(self, user: Any, issuer: str, subject: str) -> "Identity":
        """Let ``user`` be who that provider calls so; raises ``IntegrityError`` if one is."""
        return self.create(
            key=identity_key(issuer, subject),
            user=user,
            issuer=as_column(issuer),
            subject=as_column(subject),
        )


def identity_key(issuer: str, subject: str) -> str:
    """Return what tells this subject of this issuer from all others, in lower-case hex.

    Databases may take upper for lower case, and the columns are cut where they are too long.
    """
    return hashlib.sha256(json.dumps([issuer, subject]).encode()).hexdigest()


class Identity(models.Model):
    """A user of this site as a provider knows them (OpenID Connect Core §5.7)."""

    key = models.CharField(max_length=64, unique=True, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        related_name="+",
    )
    issuer = models.CharField(_("issuer"), max_length=255)
    subject = models.CharField(_("subject"), max_length=255)
    created_at = models.DateTimeField(_("linked"), default=timezone.now)

    objects = IdentityManager()

    class Meta:
        verbose_name = _("identity")
        verbose_name_plural = _("identities")

    def __str__(self) -> str:
        values = {"subject": self.subject, "issuer": self.issuer}
        return gettext("%(subject)s of %(issuer)s") % values


class Note(models.Model):
    """A small fact that all processes share until it expires."""

    key = models.CharField(max_length=255, unique=True)
    value = models.JSONField(default=None, null=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("note")
        verbose_name_plural = _("notes")

    def __str__(self) -> str:
        return self.key
