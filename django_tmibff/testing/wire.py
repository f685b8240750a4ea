"""An authorization server at the wire: answers in the order it is told, and remembers requests."""

from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import jwt
import requests

from .. import dpop
from ..conf import settings

try:
    import requests_mock
except ImportError as error:
    raise ImportError(
        "django_tmibff.testing.wire needs requests-mock: pip install 'django-tmibff[testing]'"
    ) from error


class AuthorizationServer:
    """Gives ``fresh-1``, ``fresh-2``, ... unless other answers were queued.

    Where a DPoP proof comes along they are bound to its key (RFC 9449), or so it says.

    ``mocker``: a ``requests_mock.Mocker``, or the fixture ``requests_mock``. The endpoints are
    those of your settings' default provider, unless you name others.

    ``requests`` are the forms that the token endpoint was sent, ``headers`` their headers, ``jkts``
    the thumbprints of their proofs' keys, in order; ``revoked`` the tokens whose revocation was
    asked for; ``before_answering`` is called while the token endpoint is being asked.
    """

    def __init__(
        self,
        mocker: requests_mock.Mocker,
        token_endpoint: str | None = None,
        revocation_endpoint: str | None = None,
    ) -> None:
        usual = settings.provider()
        self.mocker = mocker
        self.token_endpoint = token_endpoint or usual.token_endpoint
        self.revocation_endpoint = revocation_endpoint or usual.revocation_endpoint
        self.requests: list[dict[str, list[str]]] = []
        self.headers: list[Any] = []
        self.revoked: list[str] = []
        self.before_answering: Callable[[], None] = lambda: None
        self._queue: deque[dict[str, Any]] = deque()
        mocker.add_matcher(self._answer)

    @property
    def calls(self) -> int:
        """How often the token endpoint was asked."""
        return len(self.requests)

    @property
    def jkts(self) -> list[str | None]:
        """The keys that the tokens are bound to; ``None`` where no proof came."""
        return [_jkt(headers.get(dpop.HEADER)) for headers in self.headers]

    def answers(self, **answer: Any) -> None:
        """Queue an answer, in the words of ``requests_mock.create_response``."""
        self._queue.append(answer)

    def gives(self, **token_response: Any) -> None:
        """Queue a token response."""
        self.answers(json=token_response)

    def rotates(self, **more: Any) -> None:
        """Queue a usual token response with a new refresh token: ``rotated-1``, ..."""
        self.answers(rotated=more)

    def refuses(self, error: str, status: int = 400, **more: Any) -> None:
        """Queue an OAuth error.

        ``invalid_grant`` for a scope or a resource is believed only after a second one (X6).
        """
        self.answers(json={"error": error, **more}, status_code=status)

    def hangs(self) -> None:
        """Queue silence: the site's time-out passes, though not in time of the test's."""
        self.answers(exc=requests.ReadTimeout("the test's authorization server hangs"))

    def is_down(self) -> None:
        """Queue a failed connection."""
        self.answers(exc=requests.ConnectionError("the test's authorization server is down"))

    def _answer(self, request: Any) -> requests.Response | None:
        if request.url == self.token_endpoint:
            return self._token(request)
        if request.url == self.revocation_endpoint:
            self.revoked += parse_qs(request.text)["token"]
            return self._next(request, {"status_code": 200})
        return None

    def _token(self, request: Any) -> requests.Response:
        self.requests.append(parse_qs(request.text, keep_blank_values=True))
        self.headers.append(request.headers)
        self.before_answering()
        return self._next(request, {"json": self._usual()})

    def _next(self, request: Any, usual: dict[str, Any]) -> requests.Response:
        answer = self._queue.popleft() if self._queue else usual
        if "rotated" in answer:
            rotated = {"refresh_token": f"rotated-{self.calls}", **answer["rotated"]}
            answer = {"json": {**self._usual(), **rotated}}
        failure: BaseException | None = answer.get("exc")
        if failure is not None:
            raise failure
        return requests_mock.create_response(request, **answer)

    def _usual(self) -> dict[str, Any]:
        token_type = "DPoP" if dpop.HEADER in self.headers[-1] else "Bearer"
        return {"access_token": f"fresh-{self.calls}", "token_type": token_type, "expires_in": 3600}


def _jkt(proof: str | None) -> str | None:
    return None if proof is None else dpop.thumbprint(jwt.get_unverified_header(proof)["jwk"])
