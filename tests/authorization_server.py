"""An authorization server at the wire: answers in the order it is told, and remembers requests."""

from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import requests_mock
from requests import PreparedRequest

ISSUER = "https://op.example"
TOKEN_ENDPOINT = f"{ISSUER}/token"


class AuthorizationServer:
    """Gives ``fresh-1``, ``fresh-2``, ... unless other answers were queued."""

    def __init__(self, mocker: requests_mock.Mocker, issuer: str = ISSUER) -> None:
        self.mocker = mocker
        self.issuer = issuer
        self.requests: list[dict[str, list[str]]] = []
        self.revoked: list[str] = []
        self.headers: list[Any] = []
        self.before_answering: Callable[[], None] = lambda: None
        self._queue: deque[dict[str, Any]] = deque()
        mocker.add_matcher(self._answer)

    def answers(self, **answer: Any) -> None:
        """Queue an answer, in the words of ``requests_mock.create_response``."""
        self._queue.append(answer)

    def gives(self, **token_response: Any) -> None:
        """Queue a token response."""
        self.answers(json=token_response)

    def refuses(self, error: str, status: int = 400, **more: Any) -> None:
        """Queue an OAuth error."""
        self.answers(json={"error": error, **more}, status_code=status)

    @property
    def calls(self) -> int:
        """How often the token endpoint was asked."""
        return len(self.requests)

    def _answer(self, request: PreparedRequest) -> Any:
        if request.url == f"{self.issuer}/token":
            return self._token(request)
        if request.url == f"{self.issuer}/revoke":
            return self._revocation(request)
        return None

    def _token(self, request: PreparedRequest) -> Any:
        self.requests.append(parse_qs(request.text, keep_blank_values=True))
        self.headers.append(request.headers)
        self.before_answering()
        number = len(self.requests)
        token_type = "DPoP" if "DPoP" in request.headers else "Bearer"
        usual = {"access_token": f"fresh-{number}", "token_type": token_type, "expires_in": 3600}
        answer = self._queue.popleft() if self._queue else {"json": usual}
        if "exc" in answer:
            raise answer["exc"]
        return requests_mock.create_response(request, **answer)

    def _revocation(self, request: PreparedRequest) -> Any:
        answer = self._queue.popleft() if self._queue else {"status_code": 200}
        self.revoked += parse_qs(request.text)["token"]
        return requests_mock.create_response(request, **answer)
