"""A reader's browser: does what the items of a numbered list say, in one of these sentences."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Error, Page, expect

from tests.tutorial.steps import TutorialError

SCREEN = {"width": 1280, "height": 640}
TIMEOUT_MILLISECONDS = 15_000
# As much of an object as Chrome's console shows before it is unfolded.
SHOWN_MEMBERS = 5


class Windows:
    """The windows of a browser; what is said is done in the one that was opened last."""

    def __init__(self, browser: Callable[[], Browser]) -> None:
        """Open none yet; ``browser`` starts one, for the first sentence."""
        self._browser = browser
        self._pages: list[Page] = []

    def do(self, sentence: str) -> None:
        """Do what the sentence says; raises ``TutorialError`` where it does not come true."""
        action, said = _understood(sentence)
        try:
            action(self, **said)
        except (Error, AssertionError) as error:
            text = self._pages[-1].locator("body").inner_text()
            raise TutorialError(f"{sentence} {error}\n\nThe page says:\n{text}") from error

    def console(self, code: str) -> str:
        """Return what Chrome's console answers to the code."""
        try:
            return shown(self.page.evaluate(f"(async () => {code.strip()})()"))
        except Error as error:
            raise TutorialError(f"The console says: {error}") from error

    def take_picture(self, file: Path) -> None:
        """Take a picture of the page, without the empty space around it."""
        self.page.locator("body").screenshot(path=file)

    @property
    def page(self) -> Page:
        """The window in front."""
        if not self._pages:
            self._open_window()
        return self._pages[-1]

    def _open_window(self) -> None:
        context = self._browser().new_context(viewport=SCREEN)
        context.set_default_timeout(TIMEOUT_MILLISECONDS)
        self._pages.append(context.new_page())

    def _open(self, url: str) -> None:
        self.page.goto(url)

    def _open_private(self, url: str) -> None:
        self._open_window()
        self.page.goto(url)

    def _other(self) -> None:
        self._pages.reverse()

    def _reload(self) -> None:
        self.page.reload()

    def _reload_all(self) -> None:
        # Browsers take a script that has just been changed from their cache, for a while.
        page = self.page
        with page.expect_event("load"):
            page.context.new_cdp_session(page).send("Page.reload", {"ignoreCache": True})

    def _click(self, name: str) -> None:
        button, link = (
            self.page.get_by_role(role, name=name, exact=True) for role in ("button", "link")
        )
        button.or_(link).first.click()

    def _type(self, text: str, label: str) -> None:
        self.page.get_by_label(label).fill(text)

    def _see(self, text: str) -> None:
        found = self.page.get_by_text(text).filter(visible=True).first
        expect(found).to_be_visible(timeout=TIMEOUT_MILLISECONDS)

    def _address(self, start: str) -> None:
        expect(self.page).to_have_url(
            re.compile(f"^{re.escape(start)}"), timeout=TIMEOUT_MILLISECONDS
        )


SENTENCES: dict[str, Callable[..., None]] = {
    r"Open <(?P<url>[^>]+)>\.": Windows._open,
    r"Open <(?P<url>[^>]+)> in a private window\.": Windows._open_private,
    r"Go to the other window\.": Windows._other,
    r"Reload the page\.": Windows._reload,
    r"Reload the page with Ctrl\+Shift\+R \(.*\)\.": Windows._reload_all,
    r"Click \*\*(?P<name>[^*]+)\*\*\.": Windows._click,
    r"Type `(?P<text>[^`]+)` as \*\*(?P<label>[^*]+)\*\*\.": Windows._type,
    r"(?:Wait until you|You) see \*\*(?P<text>[^*]+)\*\*\.?": Windows._see,
    r"The address now begins with `(?P<start>[^`]+)`\.": Windows._address,
}


def check(sentence: str) -> None:
    """Raise ``TutorialError`` for a sentence that nobody here understands."""
    _understood(sentence)


def _understood(sentence: str) -> tuple[Callable[..., None], dict[str, str]]:
    for pattern, action in SENTENCES.items():
        if match := re.fullmatch(pattern, sentence):
            return action, match.groupdict()
    raise TutorialError(f"What is to be done in the browser? {sentence}")


def shown(value: Any) -> str:
    """Return the value as Chrome's console shows it."""
    if isinstance(value, dict):
        members = [f"{name}: {shown(member)}" for name, member in value.items()]
        more = ["…"] if len(members) > SHOWN_MEMBERS else []
        return f"{{{', '.join([*members[:SHOWN_MEMBERS], *more])}}}"
    return f"'{value}'" if isinstance(value, str) else json.dumps(value)
