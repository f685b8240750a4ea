"""The demo's OpenID Provider: a Django project of its own, with django-oauth-toolkit."""
