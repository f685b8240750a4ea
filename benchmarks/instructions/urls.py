"""The paths of all scenarios."""

from benchmarks.site import anchor, bff
from benchmarks.site.bff import keep

__all__ = ["keep", "urlpatterns"]

urlpatterns = [*anchor.urlpatterns, *bff.urlpatterns]
