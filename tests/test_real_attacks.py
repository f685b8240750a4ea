"""The attack battery: what other pages in the user's browser can do to the endpoints."""

import json
from collections.abc import Callable

import pytest

from tests.browser.attacks import battery
from tests.browser.attacks.page import (
    ANSWERED,
    ASKS_FIRST,
    PAGE,
    READS,
    REFUSED,
    TABLE,
    cells,
    cells_in,
    page_with_tables,
)
from tests.browser.attacks.results import Results
from tests.browser.attacks.setups import (
    ANSWERS,
    BACK_CHANNEL,
    CROSS_SITE,
    DPOP,
    FRAMED,
    LOGIN,
    OPEN,
    OWN,
    REBOUND,
    SANDBOX,
    SETUPS,
    SIBLING,
    STRICT,
    TOKEN,
    WEAKENED,
    WORST,
    Origin,
    Setup,
)

pytestmark = pytest.mark.real

Attacked = Callable[[Setup], Results]

GUARDED = pytest.mark.parametrize(
    "setup", [setup for setup in SETUPS if setup != WEAKENED], ids=lambda setup: setup.name
)
# What Django itself answers: to a host that is not ours, and to a form without a CSRF token.
BAD_HOST, NO_CSRF_TOKEN = "<h1>Bad Request (400)</h1>", "CSRF verification failed"
# And to another method than an endpoint's own.
OTHER_METHOD = {405, 403}
OPEN_TO_ALL = (OPEN, DPOP)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    """Return what came of the attacks on a setup, which are made once."""
    made: dict[Setup, Results] = {}
    said = cells_in(PAGE.read_text())

    def is_complete(results: Results) -> bool:
        # The page leaves out some of the origins that attack the weakened site.
        return all(said.get(means, word) == word for means, word in cells(results).items())

    def attack(setup: Setup) -> Results:
        if setup not in made:
            made[setup] = battery.run(setup, tmp_path_factory.mktemp(setup.name), is_complete)
        return made[setup]

    return attack


class TestFromElsewhere:
    """E4, E5: with the victim's cookies, and whatever the means."""

    @GUARDED
    def test_e5_no_script_gets_hold_of_a_secret(self, attacked: Attacked, setup: Setup) -> None:
        results = attacked(setup)
        seen = json.dumps([[one.found for one in results.by_attackers()], results.noticed])
        assert [secret for secret in results.secrets if secret in seen] == []
        # Beside the canaries and the session there are the states of the sign-ins that began.
        assert len(results.secrets) > 2

    @GUARDED
    def test_e4_e5_nor_reads_anything_but_djangos_own_refusals(
        self, attacked: Attacked, setup: Setup
    ) -> None:
        for outcome in attacked(setup).by_attackers():
            for text in outcome.read:
                if outcome.attack.origin == REBOUND:
                    assert BAD_HOST in text
                else:
                    assert setup in OPEN_TO_ALL
                    assert outcome.attack.endpoint == LOGIN
                    assert NO_CSRF_TOKEN in text

    @GUARDED
    def test_e5_no_work_is_done(self, attacked: Attacked, setup: Setup) -> None:
        results = attacked(setup)
        worked = [
            outcome
            for outcome in results.by_attackers()
            if outcome.attack.endpoint != LOGIN
            for arrival in outcome.arrivals
            # Where the provider comes from elsewhere its keys are looked for, and no token set.
            if arrival.token_sets or (arrival.queries and outcome.attack.endpoint != BACK_CHANNEL)
        ]
        assert worked == []
        assert results.calls == 0
        # The forged logout token is right in everything but its signature.
        assert results.keys == 1

    @GUARDED
    def test_e5_every_answer_is_the_one_that_the_page_says(
        self, attacked: Attacked, setup: Setup
    ) -> None:
        for outcome in attacked(setup).by_attackers():
            by_method = ANSWERS[outcome.attack.endpoint]
            for arrival in outcome.arrivals:
                usual = by_method.get(arrival.method, OTHER_METHOD)
                also = _also(setup, outcome.attack.origin, outcome.attack.endpoint, arrival.method)
                assert arrival.status in usual | also, outcome

    @GUARDED
    def test_e9_nobody_is_signed_out(self, attacked: Attacked, setup: Setup) -> None:
        """With strict cookies neither, which navigations from elsewhere leave behind."""
        results = attacked(setup)
        assert results.session_afterwards == results.session
        assert (results.token[0], results.info[0]) == (200, 200)
        assert "canary-access" in results.token[1]
        assert "canary-subject" in results.info[1]

    @GUARDED
    def test_x9_no_secret_is_in_the_log(self, attacked: Attacked, setup: Setup) -> None:
        results = attacked(setup)
        assert "logout token refused" in results.log
        assert [secret for secret in results.secrets if secret in results.log] == []


def _also(setup: Setup, origin: Origin, endpoint: str, method: str) -> set[int]:
    """Return what else may be answered in this setup."""
    if origin == REBOUND:
        return {400}
    if (setup, endpoint, method) == (STRICT, LOGIN, "GET"):
        return {200}  # The page that goes there again.
    return {200} if setup in OPEN_TO_ALL and method == "OPTIONS" else set()


class TestFromOurOwnPage:
    """What must work does, by the same means: the battery sees what there is to be seen."""

    @pytest.mark.parametrize(
        ("setup", "page"),
        [(WORST, OWN), (WORST, FRAMED), (OPEN, OWN)],
        ids=lambda one: one.name,
    )
    def test_r1_it_gets_its_token(self, attacked: Attacked, setup: Setup, page: Origin) -> None:
        found = cells(attacked(setup))
        for group, means in (
            ("Requests", "`fetch`, mode `cors`"),
            ("Requests", "`fetch`, mode `same-origin`"),
            ("Requests", "`fetch`, POST of a form"),
            ("Requests", "`XMLHttpRequest`"),
            ("Workers", "a worker, `fetch`"),
            ("Workers", "a service worker, mode `cors`"),
        ):
            assert found[setup, (group, means, page)] == READS

    def test_r6_that_has_the_authorization_server_asked(self, attacked: Attacked) -> None:
        assert attacked(WORST).calls_afterwards > attacked(WORST).calls

    @GUARDED
    def test_b5_it_signs_out(self, attacked: Attacked, setup: Setup) -> None:
        status, text = attacked(setup).signed_out
        assert (status, json.loads(text)["error"]) == (400, "invalid_session")


class TestWithDpop:
    """Where tokens are bound to a key of the page's, and the attackers have keys of their own."""

    def test_no_more_comes_of_it_than_without(self, attacked: Attacked) -> None:
        said = cells_in(PAGE.read_text())
        found = cells(attacked(DPOP))
        assert {means: said[means] for means in found} == found

    def test_the_sites_own_page_gets_its_token_bound_to_its_key(self, attacked: Attacked) -> None:
        """No attacker's was pinned."""
        status, text = attacked(DPOP).token
        assert (status, json.loads(text)["token_type"]) == (200, "DPoP")

    def test_but_not_without_a_proof_nor_for_the_attackers(self, attacked: Attacked) -> None:
        """Whose proof is sound: only then is a sign-in said to help."""
        results = attacked(DPOP)
        answers = [results.without_proof, results.with_attackers_proof]
        errors = [json.loads(text) for status, text in answers if status == 400]
        assert [error["error"] for error in errors] == ["invalid_dpop_proof"] * 2
        assert ["login_url" in error for error in errors] == [False, True]

    def test_x9_no_proof_is_in_the_log(self, attacked: Attacked) -> None:
        assert "eyJ" not in attacked(DPOP).log


class TestWithoutTheGuard:
    """A server that was weakened on purpose: the battery has to find that out."""

    @pytest.mark.parametrize("origin", [CROSS_SITE, SANDBOX, SIBLING], ids=lambda one: one.name)
    def test_scripts_read_the_token(self, attacked: Attacked, origin: Origin) -> None:
        found = cells(attacked(WEAKENED))
        for group, means in (
            ("Requests", "`fetch`, mode `cors`"),
            ("Requests", "`fetch` with a header"),
            ("Requests", "`fetch`, POST of a form"),
            ("Requests", "`XMLHttpRequest`"),
            ("Workers", "a worker, `fetch`"),
        ):
            assert found[WEAKENED, (group, means, origin)] == READS

    def test_they_read_who_is_signed_in(self, attacked: Attacked) -> None:
        texts = [text for outcome in attacked(WEAKENED).by_attackers() for text in outcome.read]
        assert any("canary-subject" in text for text in texts)

    def test_whatever_was_refused_makes_the_server_work(self, attacked: Attacked) -> None:
        refused = {
            (group, means)
            for (_setup, (group, means, origin)), word in cells(attacked(WORST)).items()
            if origin == CROSS_SITE and word in (REFUSED, ASKS_FIRST)
        }
        worked = {
            (outcome.attack.group, outcome.attack.means)
            for outcome in attacked(WEAKENED).by_attackers()
            for arrival in outcome.arrivals
            if (outcome.attack.origin, outcome.attack.endpoint) == (CROSS_SITE, TOKEN)
            if arrival.queries
        }
        # A method that bff-token does not know never comes that far.
        assert refused - worked == {("Requests", "`fetch`, PUT")}

    def test_most_means_get_the_token_handed_out(self, attacked: Attacked) -> None:
        words = [
            word
            for (_setup, (_group, _means, origin)), word in cells(attacked(WEAKENED)).items()
            if origin == CROSS_SITE
        ]
        assert sum(word in (READS, ANSWERED) for word in words) > len(words) / 2

    def test_users_are_signed_out(self, attacked: Attacked) -> None:
        assert attacked(WEAKENED).ended == {means: 400 for _group, means in battery.SIGN_OUTS}


def test_the_page_says_what_came_of_it(attacked: Attacked) -> None:
    """``python -m tests.browser.attacks`` writes it anew."""
    found = {means: word for setup in SETUPS for means, word in cells(attacked(setup)).items()}
    page = PAGE.read_text()
    assert len(TABLE.findall(page)) == 4
    assert page == page_with_tables(page, found)
