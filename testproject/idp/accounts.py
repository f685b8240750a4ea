"""Who is known to the OpenID Provider: people, and programs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    """Somebody who can sign in."""

    username: str
    password: str
    first_name: str
    last_name: str

    @property
    def email(self) -> str:
        """An address that reaches nobody (RFC 2606)."""
        return f"{self.username}@example.test"


@dataclass(frozen=True)
class Client:
    """A program that authenticates with a secret."""

    client_id: str
    secret: str


# No secrets: all of it is in the repository, and answers on loopback only.
PEOPLE = (
    Person("alice", "wonderland", "Alice", "Liddell"),
    Person("bob", "builder", "Bob", "Mortar"),
)
APP = Client("demo-app", "demo-app-secret")
API = Client("demo-api", "demo-api-secret")
