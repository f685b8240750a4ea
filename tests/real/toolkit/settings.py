"""The demo's provider, less what it has changed of django-oauth-toolkit."""

from testproject.idp.settings import *  # noqa: F403  # settings build on settings
from testproject.idp.settings import OAUTH2_PROVIDER as OF_DEMO

ROOT_URLCONF = "tests.real.toolkit.urls"
_KEPT = (
    "OIDC_ENABLED",
    "OIDC_ISS_ENDPOINT",
    "OIDC_RSA_PRIVATE_KEY",
    "OIDC_RP_INITIATED_LOGOUT_ENABLED",
    "SCOPES",
)
OAUTH2_PROVIDER = {
    **{name: OF_DEMO[name] for name in _KEPT},
    "OAUTH2_VALIDATOR_CLASS": "tests.real.toolkit.validators.Validator",
}
