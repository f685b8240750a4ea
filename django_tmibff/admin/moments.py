"""How long ago something was, and how long it still lasts.

Django's naturaltime has translations only where django.contrib.humanize is installed.
"""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _
from django.utils.translation import ngettext_lazy

# Each a whole phrase, for it may not be the nominative that follows "ago" in other languages.
_AGO: dict[str, Any] = {
    "year": ngettext_lazy("%(num)d year ago", "%(num)d years ago", "num"),
    "month": ngettext_lazy("%(num)d month ago", "%(num)d months ago", "num"),
    "week": ngettext_lazy("%(num)d week ago", "%(num)d weeks ago", "num"),
    "day": ngettext_lazy("%(num)d day ago", "%(num)d days ago", "num"),
    "hour": ngettext_lazy("%(num)d hour ago", "%(num)d hours ago", "num"),
    "minute": ngettext_lazy("%(num)d minute ago", "%(num)d minutes ago", "num"),
}


def ago(moment: datetime) -> str:
    """Return how long ago that was, as HTML."""
    return format_html('<time datetime="{}">{}</time>', moment.isoformat(), _ago(moment))


def left(moment: datetime, seconds: int) -> str:
    """Return how long it is until then, which is in so many seconds."""
    if seconds >= 60:
        return _("%(time)s left") % {"time": _breakable(timeuntil(moment, depth=1))}
    return _("%(seconds)d s left") % {"seconds": seconds} if seconds else _("expired")


def _ago(moment: datetime) -> str:
    if timezone.now() - moment < timedelta(minutes=1):
        return _("just now")
    return _breakable(timesince(moment, time_strings=_AGO, depth=1))


def _breakable(text: str) -> str:
    # Columns are narrow.
    return text.replace("\xa0", " ")
