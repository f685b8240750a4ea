"""The application of the bench, whose workers can be told where to die."""

import os

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

if "KILL_POINTS" in os.environ:
    from pathlib import Path

    from tests.concurrency import kill_points

    kill_points.install(Path(os.environ["KILL_POINTS"]))
