"""The fast path's reading: session, user and token set, with every check that the view makes.

What the view has from Django (session middleware, ``request.user``, the ORM) is read here in one or
two statements. That means the same only where nothing on the way was replaced by something of the
site's own: ``obstacles`` says what was, and then nobody reads here.
"""

from .reading import contents_of
from .usual import obstacles

__all__ = ["contents_of", "obstacles"]
