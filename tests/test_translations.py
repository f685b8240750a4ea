"""The admin in other languages: the catalogues are whole and right, and every page speaks them."""

import ast
import gettext
import io
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import django
import pytest
from babel.messages import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.utils import timezone, translation
from django.utils.translation.template import templatize

import django_tmibff
from django_tmibff.admin import actions, counting, moments, phrases
from django_tmibff.admin.states import State
from django_tmibff.models import Identity, TokenSet
from tests.page import Page
from tests.sealed import plant
from tests.test_admin import LIST, PAGE, act, detail

PACKAGE = Path(django_tmibff.__file__).parent
LOCALE = PACKAGE / "locale"
LANGUAGES = sorted(folder.name for folder in LOCALE.iterdir())
EACH = pytest.mark.parametrize("language", LANGUAGES)
# What Django's makemessages looks for.
KEYWORDS: dict[str, Any] = {
    **dict.fromkeys(("_", "gettext", "gettext_lazy", "gettext_noop")),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (1, 2)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), ((1, "c"), 2)),
}
# Who ends token sets, and says why.
ENDING = {"end", "_end_all", "_stamp"}
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[sd]|</?\w+>")
# The columns that the admin shows.
SHOWN = {"user", "provider", "issuer", "subject", "sid", "handle", "scope", "created_at"}
# What Django shows nowhere in the reader's language, or only elsewhere, or what nobody asks for.
NOT_ON_THE_PAGES = {
    *("Can renew tokens now", "Can end and revoke token sets", "Can forget access tokens"),
    *("identity", "identities", "%(subject)s of %(issuer)s", "linked", "note", "notes"),
    *("access token expires", "ended", "expires", "last error", "last renewed", "renewals"),
    "reason of the end",
    *("owed revocation due", "time of the last error", "tries of the revocation"),
}
# What the pages show that is the same in all languages; "Search" is Django's own omission.
DATA = re.compile(
    r"(alice|u_2|staff-\w+|default(:\w+)?|partner(:\w+)?|[0-9a-f]{32}|Bearer|openid|email"
    r"|https://op\.example\S*|Search),?"
)
FILTERED = {"provider", "issuer", "last_error"}
BRACKETS = re.compile(r"«(\d*)[^«»]*»")


def po(language: str) -> Path:
    return LOCALE / language / "LC_MESSAGES" / "django.po"


def messages_in(path: Path) -> list[Any]:
    """Return what a catalogue has, but for its header."""
    return [message for message in catalogue(path) if message.id]


def catalogue(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file)


def forms(value: Any) -> tuple[str, ...]:
    """Return the singular and the plural, or the only form."""
    return (value,) if isinstance(value, str) else tuple(value)


def name_of(message: Any) -> str:
    """Return what tells it from all others, as compiled catalogues have it."""
    id_ = forms(message.id)[0]
    return f"{message.context}\4{id_}" if message.context else id_


def in_code() -> set[tuple[Any, ...]]:
    """Return what the package asks catalogues for: the context, the singular, the plural."""
    sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
    sources += [templatize(path.read_text()) for path in PACKAGE.rglob("*.html")]
    return {
        (context, *forms(message))
        for source in sources
        for _line, message, _comments, context in extract(
            "python", io.BytesIO(source.encode()), keywords=KEYWORDS
        )
    }


class TestCatalogues:
    def test_they_are_those_that_the_docs_name(self) -> None:
        page = PAGE.read_text()
        assert [name for name in LANGUAGES if f"`{name}`" not in page] == []
        assert len(LANGUAGES) == 4

    @EACH
    def test_each_has_what_the_code_asks_for_and_nothing_else(self, language: str) -> None:
        found = {(message.context, *forms(message.id)) for message in messages_in(po(language))}
        assert len(found) > 100
        assert found == in_code()

    @EACH
    def test_each_is_translated_and_nothing_is_guessed(self, language: str) -> None:
        found = catalogue(po(language))
        assert not found.fuzzy
        assert found.obsolete == {}
        messages = messages_in(po(language))
        assert [message.id for message in messages if not all(forms(message.string))] == []
        assert [message.id for message in messages if message.fuzzy] == []

    @EACH
    def test_placeholders_and_tags_are_the_same(self, language: str) -> None:
        for message in messages_in(po(language)):
            wanted = sorted(PLACEHOLDER.findall(forms(message.id)[0]))
            for form in forms(message.string):
                assert sorted(PLACEHOLDER.findall(form)) == wanted, message.id

    @EACH
    def test_babel_finds_nothing_wrong(self, language: str) -> None:
        found = catalogue(po(language))
        assert str(found.locale) == language
        assert [(message.id, wrong) for message, wrong in found.check() if wrong] == []
        plurals = [message for message in messages_in(po(language)) if message.pluralizable]
        assert {len(message.string) for message in plurals} == {found.num_plurals}

    @pytest.mark.parametrize(
        ("language", "told"),
        [
            ("de", "vor 0 Tagen|vor 1 Tag|vor 2 Tagen"),
            ("es", "hace 0 días|hace 1 día|hace 2 días"),
            ("fr", "il y a 0 jour|il y a 1 jour|il y a 2 jours"),
            ("tr", "0 gün önce|1 gün önce|2 gün önce"),
        ],
    )
    def test_plurals_are_formed_as_the_language_does(self, language: str, told: str) -> None:
        with translation.override(language):
            said = [
                translation.ngettext("%(num)d day ago", "%(num)d days ago", n) % {"num": n}
                for n in range(3)
            ]
        assert said == told.split("|")

    @EACH
    def test_what_is_compiled_is_what_is_written(self, language: str) -> None:
        """``make messages`` compiles them."""
        with po(language).with_suffix(".mo").open("rb") as file:
            compiled: dict[Any, str] = vars(gettext.GNUTranslations(file))["_catalog"]
        compiled.pop("")
        written: dict[Any, str] = {}
        for message in messages_in(po(language)):
            if message.pluralizable:
                written |= {(name_of(message), n): form for n, form in enumerate(message.string)}
            else:
                written[name_of(message)] = message.string
        assert compiled == written


def test_every_reason_that_a_token_set_ends_for_can_be_translated() -> None:
    """But for a protocol's own words, and the doctor, who ends what nobody else ever saw."""
    calls = [
        node
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ENDING
    ]
    said = {arg.value for call in calls for arg in call.args if isinstance(arg, ast.Constant)}
    assert said - {"invalid_grant"} == phrases.REASONS - {phrases.ENDED_HERE}


class TestLaziness:
    """What is made at import speaks the language of each request."""

    @pytest.fixture
    def names(self) -> list[Any]:
        """What is made at import."""
        config = apps.get_app_config("django_tmibff")
        model_admin = admin.site.get_model_admin(TokenSet)
        models = [model._meta for model in config.get_models()]
        columns = [getattr(model_admin, name, None) for name in model_admin.list_display]
        return [
            config.verbose_name,
            *(options.verbose_name for options in models),
            *(options.verbose_name_plural for options in models),
            *(TokenSet._meta.get_field(name).verbose_name for name in SHOWN),
            *(column.short_description for column in columns if column),
            *(action.short_description for action in actions.ACTIONS),
            *(one.title for one in model_admin.list_filter if not isinstance(one, str)),
            *(state.label for state in State),
            *(name for _codename, name in TokenSet._meta.permissions),
        ]

    @EACH
    def test_it_is_translated_when_it_is_shown(self, names: list[Any], language: str) -> None:
        known = {(message.id, message.string) for message in messages_in(po(language))}
        with translation.override("en"):
            english = [str(name) for name in names]
        with translation.override(language):
            said = [str(name) for name in names]
        assert {*zip(english, said, strict=True)} <= known
        assert said != english
        with translation.override("en"):
            assert [str(name) for name in names] == english

    def test_an_identity_is_its_issuers(self) -> None:
        identity = Identity(subject="17", issuer="https://op.example")
        with translation.override("de"):
            assert str(identity) == "17 bei https://op.example"
        with translation.override("en"):
            assert str(identity) == "17 of https://op.example"


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", "3 days ago|1 hour ago|just now|2 hours left|40 s left|1,000+"),
        ("de", "vor 3 Tagen|vor 1 Stunde|gerade eben|noch 2 Stunden|noch 40 s|1.000+"),
        ("es", "hace 3 días|hace 1 hora|ahora mismo|2 horas más|40 s más|1 000+"),
        ("fr", "il y a 3 jours|il y a 1 heure|à l\u2019instant|encore 2 heures|encore 40 s|1 000+"),
        ("tr", "3 gün önce|1 saat önce|az önce|2 saat kaldı|40 sn kaldı|1.000+"),  # noqa: RUF001  # Turkish
    ],
)
def test_figures_are_told_as_one_says_it_there(language: str, told: str) -> None:
    now, more = timezone.now(), counting.Count(counting.LIMIT)
    more.is_more = True
    with translation.override(language):
        said = [
            *(moments.ago(now - timedelta(**ago)) for ago in ({"days": 3}, {"hours": 1}, {})),
            moments.left(now + timedelta(hours=2, minutes=5), 7500),
            moments.left(now, 40),
            str(more),
        ]
    assert [re.sub(r"<[^>]+>", "", one).replace("\xa0", " ") for one in said] == told.split("|")


@pytest.mark.django_db
class TestPages:
    """All that the admin shows, with everything that can be the matter."""

    @pytest.fixture(autouse=True)
    def with_languages(self, settings: Any) -> Iterator[None]:
        """Let each request choose its language; those of other tests have that of the settings."""
        locale = "django.middleware.locale.LocaleMiddleware"
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, locale]
        with translation.override(settings.LANGUAGE_CODE):
            yield

    @pytest.fixture
    def reader(self, staff: Any, settings: Any) -> Callable[[str], Page]:
        """Sign an operator in who reads that language."""

        def sign_in(language: str) -> Page:
            found: Page = staff()
            found.cookies[settings.LANGUAGE_COOKIE_NAME] = language
            return found

        return sign_in

    @pytest.fixture
    def rows(self, row: Any) -> list[TokenSet]:
        """Make records of every age, state and end; the first one's user and error are known."""
        now, day = timezone.now(), timedelta(days=1)
        return [
            row("u_2", provider="partner", last_error="x_17", last_error_at=now),
            row(access_expires_at=now - day, expires_at=now - day),
            row(ended_at=now, revoke_at=now, revoke_count=3),
            *(row(ended_at=now, end_reason=reason) for reason in phrases.REASONS),
            *(
                row(created_at=now - days * day, refreshed_at=now, refresh_count=2)
                for days in (400, 40, 8, 1, 1 / 24, 1 / 300)
            ),
        ]

    @pytest.fixture
    def seen(
        self,
        reader: Any,
        signed_in: Any,
        rows: list[TokenSet],
        page: Page,
        settings: Any,
        monkeypatch: Any,
        authorization_server: Any,
    ) -> Callable[[str], Iterator[str]]:
        """Return the pages' HTML in that language, one after the other."""

        def look(language: str) -> Iterator[Any]:
            settings.TMIBFF_PROVIDERS = {"partner": {"revocation_endpoint": None}}
            visitor, bob = reader(language), rows[0]
            signed_in()
            record = page.store(claims={"iss": "https://op.example", "sub": "s_1", "sid": "s_2"})
            yield visitor.get("/admin/")
            yield visitor.get(LIST)
            yield visitor.get(LIST, {"q": "u_2"})
            yield visitor.get(LIST, {"state": "failing"})
            yield visitor.get(f"{LIST}17000/change/", follow=True)
            for one in (record, *rows):
                yield visitor.get(detail(one))
            for seconds in (-1, ...):
                own = visitor.store({"refresh_token": ..., "expires_in": seconds})
                yield visitor.get(detail(own))
            yield act(visitor, "end_and_revoke", record, bob, own)
            authorization_server.gives(
                access_token="x", expires_in=50, scope="openid", refresh_expires_in=60
            )
            yield act(visitor, "renew_now", record, bob)
            yield visitor.get(detail(record))
            TokenSet.objects.take_lease(bob.handle, "x", 60)
            yield act(visitor, "forget_access_tokens", record, bob, rows[1])
            yield visitor.get(detail(record))
            yield act(visitor, "end_and_revoke", record, confirmed="yes")
            yield act(visitor, "end_and_revoke", record, confirmed="yes")
            yield visitor.get(f"{LIST}{record.pk}/history/")
            yield visitor.get(f"{LIST}{bob.pk}/history/")
            plant(own, b"nonsense")
            yield visitor.get(detail(own))
            monkeypatch.setattr(actions, "_RENEWING_SECONDS", -1)
            yield act(visitor, "renew_now", own)
            monkeypatch.setattr(actions, "_MOST_AT_ONCE", 1)
            yield act(visitor, "renew_now", own, bob)
            settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
            yield act(reader(language), "end_and_revoke", bob)

        def html(language: str) -> Iterator[str]:
            for answer in look(language):
                assert answer.status_code == 200, answer
                yield answer.content.decode()

        return html

    @EACH
    def test_nothing_of_the_english_is_left(
        self, seen: Callable[[str], Iterator[str]], language: str
    ) -> None:
        """But for words that are the same, or that the translations themselves use."""
        messages = messages_in(po(language))
        said = " | ".join(form for message in messages for form in forms(message.string))
        patterns = [re.compile(pattern_of(message.id), re.IGNORECASE) for message in messages]
        english = [pattern for pattern in patterns if not pattern.search(said)]
        assert len(english) > 0.9 * len(messages)
        for html in seen(language):
            assert f'<html lang="{language}"' in html
            text = text_of(html)
            assert "%(" not in text
            assert [found[0] for pattern in english if (found := pattern.search(text))] == []

    def test_nothing_is_shown_that_no_catalogue_has(
        self, seen: Callable[[str], Iterator[str]], settings: Any, tmp_path: Path
    ) -> None:
        """In a language that puts everything in brackets: the rest must be data."""
        numbers = bracketed(tmp_path / "de" / "LC_MESSAGES")
        settings.LOCALE_PATHS = [tmp_path]
        shown: set[str] = set()
        for html in seen("de"):
            text = text_of(html)
            while found := BRACKETS.findall(text):
                shown.update(found)
                text = BRACKETS.sub(" ", text)
            words = re.findall(r"\S*[^\W\d_]{3}\S*", text)
            assert [word for word in words if not DATA.fullmatch(word)] == []
        assert {one for one, number in numbers.items() if number not in shown} == NOT_ON_THE_PAGES

    @pytest.mark.parametrize("language", ["en", *LANGUAGES])
    def test_x9_what_a_provider_or_a_user_says_is_text_and_nothing_else(
        self, reader: Any, row: Any, settings: Any, authorization_server: Any, language: str
    ) -> None:
        """Neither a tag, nor a template's, nor a placeholder of the phrase that it is put into."""
        now, said = timezone.now(), "<blink onclick=alert(1)>%(title)s%s{}{{ 7|add:7 }}&lt;"
        columns = ("provider", "issuer", "subject", "sid", "scope", "last_error")
        spoken = dict.fromkeys(columns, said)
        settings.TMIBFF_PROVIDERS = {said: {"revocation_endpoint": f"https://op.example/{said}"}}
        settings.OIDC_OP_ISSUER = said
        visitor = reader(language)
        alive = row(said, last_error_at=now, **spoken)
        ended = row(ended_at=now, end_reason=said, **spoken)
        own = visitor.store(
            {"scope": "<blink/x=y>", "token_type": "<blink/x=y>"},
            claims={"iss": said, "sub": said, "sid": said},
        )
        LogEntry.objects.create(
            user_id=visitor.session["_auth_user_id"],
            content_type_id=ContentType.objects.get_for_model(TokenSet).pk,
            object_id=str(own.pk),
            action_flag=2,
            object_repr=said,
            change_message=said,
        )
        authorization_server.refuses("<blink/x=y>", error_description=said)
        pages = [visitor.get("/admin/"), visitor.get(LIST), visitor.get(LIST, {"q": said})]
        pages += [visitor.get(LIST, {name: said}) for name in ("provider", "issuer", "last_error")]
        pages += [
            act(visitor, "renew_now", own, alive),
            act(visitor, "forget_access_tokens", ended),
        ]
        pages += [visitor.get(detail(one)) for one in (alive, ended, own)]
        pages += [act(visitor, "end_and_revoke", alive, own)]
        pages += [visitor.get(f"{LIST}{own.pk}/history/")]
        assert authorization_server.calls == 1
        for page in pages:
            html = page.content.decode().replace("<wbr>", "")
            assert "<blink" not in html
            assert unescape(html).count(said) >= html.count("onclick=alert(1)&gt;") > 0

    def test_a_site_says_its_own_reasons_in_its_own_catalogue(
        self, reader: Any, row: Any, settings: Any, tmp_path: Path
    ) -> None:
        made = Catalog("de")
        made.add("house rules", "Hausordnung")
        write(made, tmp_path / "de" / "LC_MESSAGES")
        settings.LOCALE_PATHS = [tmp_path]
        ended = row(ended_at=timezone.now(), end_reason="house rules")
        assert "Beendet : Hausordnung" in text_of(page_of(reader("de"), detail(ended)))
        assert "Ended : house rules" in text_of(page_of(reader("en"), detail(ended)))

    def test_what_goes_to_pages_stays_english(self, page: Page) -> None:
        """RFC 6749 §5.2 wants ASCII."""
        said = {
            page.fetch(headers={"accept-language": language}).content
            for language in ("en", *LANGUAGES)
        }
        assert len(said) == 1
        assert said.pop().isascii()

    def test_the_log_is_kept_in_english(self, reader: Any, row: Any, settings: Any) -> None:
        """Whoever reads it, in whatever language."""
        visitor, bob = reader("de"), row("bob")
        act(visitor, "renew_now", bob)
        for language, told in (
            ("de", "Nicht erneuert: backend_not_ready."),
            ("fr", "Non renouvelé : backend_not_ready."),
            ("en", "Not renewed: backend_not_ready."),
        ):
            visitor.cookies[settings.LANGUAGE_COOKIE_NAME] = language
            assert told in text_of(page_of(visitor, f"{LIST}{bob.pk}/history/"))


def page_of(visitor: Page, path: str) -> str:
    return visitor.get(path).content.decode()


def pattern_of(id_: Any) -> str:
    """Return a pattern for the English of a message, with anything where it has a placeholder."""
    parts = re.split(r"%\(\w+\)[sd]", re.sub(r"<[^>]+>", "", forms(id_)[0]))
    return rf"(?<!\w){'.{1,80}?'.join(map(re.escape, parts))}(?!\w)"


def text_of(html: str) -> str:
    """Return what a reader sees of the page, or hears."""
    html = html.replace("<wbr>", "")
    html = re.sub(r"<(script|style)\b.*?</\1>|<!--.*?-->", " ", html, flags=re.DOTALL)
    said = re.findall(r'\s(?:title|aria-label|alt|placeholder)="([^"]*)"', html)
    said += re.findall(r'<input type="submit"[^>]* value="([^"]*)"', html)
    return re.sub(r"\s+", " ", unescape(" ".join([re.sub(r"<[^>]+>", " ", html), *said])))


def bracketed(folder: Path) -> dict[str, str]:
    """Compile a catalogue of ours and Django's, all in brackets; return the numbers of ours."""
    made, numbers = Catalog("de"), {}
    for number, message in enumerate(messages_in(po("de"))):
        numbers[name_of(message)] = str(number)
        put_in_brackets(made, message, f"{number} ")
    for path in Path(django.__path__[0]).rglob("locale/en/LC_MESSAGES/django.po"):
        for message in messages_in(path):
            if made.get(message.id, message.context) is None:
                put_in_brackets(made, message, "")
    write(made, folder)
    return numbers


def write(made: Catalog, folder: Path) -> None:
    folder.mkdir(parents=True)
    with (folder / "django.mo").open("wb") as file:
        write_mo(file, made)


def put_in_brackets(made: Catalog, message: Any, mark: str) -> None:
    found = tuple(f"«{mark}{form}»" for form in forms(message.id))
    made.add(message.id, found if message.pluralizable else found[0], context=message.context)
