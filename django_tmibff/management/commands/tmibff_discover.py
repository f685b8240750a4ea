"""``manage.py tmibff_discover ISSUER``: a provider's metadata as settings."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import agreement, discovery
from ...conf import DEFAULT_PROVIDER, Provider, settings
from ...proposal import propose


class Command(BaseCommand):
    """Prints the settings for a provider, or compares the present ones with its metadata."""

    help = (
        "Read what an OpenID Provider, or an OAuth authorization server, publishes about itself,"
        " and print the settings for it; on standard error, what it lacks. What cannot be believed"
        " is refused. OIDC_VERIFY_SSL, OIDC_PROXY and TMIBFF_AS_TIMEOUT hold here too."
    )
    # The settings that it is to find may be missing.
    requires_system_checks: list[str] = []  # noqa: RUF012  # as Django has it

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("issuer", help="As the provider's ID tokens have it, to the letter.")
        parser.add_argument(
            "--check",
            action="store_true",
            help="Print nothing to paste; name each setting that is not what the metadata says,"
            " and end with status 1 if there is any.",
        )

        parser.add_argument(
            "--provider",
            default=DEFAULT_PROVIDER,
            metavar="NAME",
            help="For that entry of TMIBFF_PROVIDERS, instead of the OIDC_* settings.",
        )

    def handle(self, *, issuer: str, check: bool, provider: str, **options: Any) -> None:
        try:
            # What is to be found for another one may not be in the settings yet.
            known = settings.provider(provider if check else DEFAULT_PROVIDER)
            metadata, keys = _published(issuer, known)
        except (ImproperlyConfigured, discovery.MetadataRefused) as error:
            raise CommandError(str(error)) from error
        proposal = propose(metadata, keys, provider)
        if options["verbosity"]:
            self._warn(proposal.warnings, known)
        if check:
            self._compare(known, metadata)
        else:
            self.stdout.write(proposal.block(), ending="")

    def _warn(self, warnings: tuple[str, ...], provider: Provider) -> None:
        if not provider.verify:
            setting = settings.name_of("verify", provider.name)
            warnings = (f"{setting} is off: anybody may have said this.", *warnings)
        for warning in warnings:
            self.stderr.write(f"Warning: {warning}", self.style.WARNING)

    def _compare(self, provider: Provider, metadata: discovery.Metadata) -> None:
        differences = agreement.differences(provider, metadata)
        for difference in differences:
            self.stdout.write(difference.finding)
        if differences:
            names = ", ".join(dict.fromkeys(one.setting for one in differences))
            raise CommandError(f"Not what the metadata says: {names}.")
        self.stdout.write("The settings are what the metadata says.")


def _published(issuer: str, provider: Provider) -> tuple[discovery.Metadata, list[Any]]:
    """Return the metadata of ``issuer`` and its keys, read as those of ``provider`` are."""
    verify, proxies = provider.verify, provider.proxies
    metadata = discovery.fetch(issuer, verify=verify, proxies=proxies)
    jwks_uri = metadata.endpoints.get("jwks_uri")
    if jwks_uri is None:
        return metadata, []
    return metadata, discovery.key_set(jwks_uri, verify=verify, proxies=proxies)
