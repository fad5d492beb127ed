"""Who is let in, and for how long: sessions, cookies, forms, and what every answer carries."""

import asyncio
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from console_page import ConsoleThread, Person
from door import Door

from ownerd.console.guard import CONTENT_SECURITY_POLICY
from ownerd.console.sessions import MOST_SESSIONS, Sessions
from ownerd.console.settings import Settings, Upstream
from ownerd.v1 import admin_pb2

COOKIE = "ownerd_console"
PAGES = (
    "/",
    "/list?id=x",
    "/record?list=x&id=1",
    "/activity",
    "/lists.csv",
    "/audit.csv",
    "/events",
)


class Clock:
    """A clock that stands until it is moved."""

    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class NoClient:
    """What a session closes."""

    closed = False

    async def close(self) -> None:
        self.closed = True


# ---- sessions by themselves


def test_a_session_ends_by_idleness_and_by_age_and_its_connection_with_it() -> None:
    async def story() -> None:
        clock = Clock()
        sessions = Sessions(idle_s=60, longest_s=200, clock=clock)
        clients: list[Any] = [NoClient(), NoClient()]
        name, session = await sessions.open(clients[0], "p")
        for _ in range(3):
            clock.now_s += 59
            assert sessions.find(name) is session
        clock.now_s += 30  # not idle, but old
        assert sessions.find(name) is None
        other, _ = await sessions.open(clients[1], "p")  # sweeps
        assert clients[0].closed and session.ended.is_set() and len(sessions) == 1
        clock.now_s += 59
        assert sessions.find(other, is_use=False)  # a page that refreshes itself is no use
        clock.now_s += 1
        assert sessions.find(other) is None
        await sessions.sweep()
        assert clients[1].closed and len(sessions) == 0

    asyncio.run(story())


def test_sessions_have_names_that_nobody_guesses_and_are_not_without_bound() -> None:
    async def story() -> None:
        sessions = Sessions(60, 600)
        nobody: Any = NoClient()
        names = [(await sessions.open(nobody, "p"))[0] for _ in range(MOST_SESSIONS + 5)]
        assert len(set(names)) == len(names) and min(map(len, names)) >= 43
        assert len(sessions) == MOST_SESSIONS
        assert sessions.find(names[0]) is None and sessions.find(names[-1])
        assert not any(name in repr(vars(sessions)) for name in names[-3:])
        for wrong in (None, "", "x", names[-1].lower(), names[-1][:-1]):
            assert sessions.find(wrong) is None

    asyncio.run(story())


# ---- over HTTP


@pytest.fixture
def person(floor: Any) -> Iterator[Person]:
    with Person(floor.base) as person:
        yield person


def cookie_of(answer: Any, name: str = COOKIE) -> Any:
    cookies: SimpleCookie = SimpleCookie()
    for line in answer.headers.get_list("set-cookie"):
        cookies.load(line)
    return cookies.get(name)


@pytest.mark.parametrize("path", PAGES)
def test_without_a_session_there_is_only_the_way_in(person: Person, path: str) -> None:
    answer = person.get(path)
    assert answer.status_code == 303 and answer.headers["location"].startswith("/signin")
    assert person.get(path, **{"X-Live": "1"}).status_code == 401


def test_the_cookie_is_for_this_site_and_for_no_script(floor: Any, person: Person) -> None:
    answer = person.send("/signin", {"token": floor.tokens["viewer"]})
    cookie = cookie_of(answer)
    assert cookie["httponly"] and cookie["samesite"] == "strict" and cookie["path"] == "/"
    assert not cookie["domain"] and not cookie["max-age"] and not cookie["expires"]
    assert len(cookie.value) >= 43
    assert floor.tokens["viewer"] not in answer.text + str(answer.headers)


def test_a_planted_session_is_not_taken_over(floor: Any, person: Person) -> None:
    planted = "planted" * 8
    person.http.cookies.set(COOKIE, planted)
    answer = person.send("/signin", {"token": floor.tokens["viewer"]})
    assert cookie_of(answer).value != planted
    with Person(floor.base) as attacker:
        attacker.http.cookies.set(COOKIE, planted)
        assert attacker.get("/").status_code == 303


def test_each_sign_in_is_a_session_of_its_own(floor: Any) -> None:
    with Person(floor.base) as one, Person(floor.base) as other:
        assert one.sign_in(floor.tokens["viewer"]).status_code == 200
        assert other.sign_in(floor.tokens["viewer"]).status_code == 200
        assert one.http.cookies[COOKIE] != other.http.cookies[COOKIE] and one.csrf != other.csrf
        stolen = other.csrf
        assert (
            one.http.post(
                "/signout", data={"csrf": stolen}, headers={"Origin": floor.base}
            ).status_code
            == 403
        )
        assert one.get("/").status_code == 200


@pytest.mark.parametrize("token", ["", " ", "ownerd_" + "x" * 43, "ümlaut", "a b", "x" * 5_000])
def test_a_wrong_token_is_told_so_and_does_not_come_back(person: Person, token: str) -> None:
    answer = person.send("/signin", {"token": token})
    assert answer.status_code == 422 and cookie_of(answer) is None
    assert 'role="alert"' in answer.text
    assert not token.strip() or token not in answer.text


def test_who_signs_in_while_there_is_no_server_is_told_to_try_again() -> None:
    with (
        Door(None) as door,
        ConsoleThread(Settings(Upstream(door.address), port=0, sign_in=True)) as console,
        Person(console.base) as person,
    ):
        person.get("/signin")
        answer = person.sign_in("ownerd_" + "x" * 43)
        assert answer.status_code == 503 and "Wait a moment and sign in again" in answer.text


def test_signing_out_ends_the_session_whoever_has_its_cookie(floor: Any, person: Person) -> None:
    assert person.sign_in(floor.tokens["viewer"]).status_code == 200
    stolen = person.http.cookies[COOKIE]
    assert person.send("/signout").headers["location"] == "/signin"
    with Person(floor.base) as thief:
        thief.http.cookies.set(COOKIE, stolen)
        assert thief.get("/").status_code == 303


def test_a_revoked_token_ends_the_session_with_the_next_look(floor: Any, person: Person) -> None:
    made = floor.server.principal("leaver", admin_pb2.Grant(right=admin_pb2.RIGHT_VIEW))
    assert person.sign_in(made.token).status_code == 200
    floor.client.revoke_tokens("leaver", all_tokens=True)
    answer = person.get("/list?id=anything")
    assert answer.status_code == 303
    location = answer.headers["location"]
    assert "why=signin.revoked" in location and "next=%2Flist" in location
    assert "no longer takes your token" in person.get(location).text
    assert person.get("/").headers["location"].startswith("/signin")


def test_the_way_back_after_signing_in_is_on_this_site(floor: Any) -> None:
    for wanted, led in (
        ("/activity", "/activity"),
        ("//evil.example/", "/"),
        ("https://evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\nSet-Cookie: x=1", "/"),
    ):
        with Person(floor.base) as person:
            answer = person.http.post(
                "/signin",
                params={"next": wanted},
                data={"token": floor.tokens["viewer"]},
                headers={"Origin": floor.base},
            )
            assert answer.headers["location"] == led, wanted


CHANGES = (
    "/list/configure?id=x",
    "/list/save?id=x",
    "/list/act?id=x",
    "/list/release?id=x",
    "/list/transfer?id=x",
    "/record/act?list=x&id=1",
    "/record/release?list=x&id=1",
    "/signout",
    "/prefer",
)


@pytest.mark.parametrize("path", CHANGES)
def test_a_form_that_is_not_from_here_changes_nothing(floor: Any, path: str) -> None:
    with Person(floor.base) as person:
        person.sign_in(floor.tokens["boss"])
        post = person.http.post
        good = {"csrf": person.csrf, "reason": "r", "all": "1", "campaign": "spring"}
        evil = {"Origin": "https://evil.example"}
        assert post(path, data=good, headers=evil).status_code == 403
        assert post(path, data=good).status_code == 403  # no browser leaves it out
        assert post(path, data=good, headers={"Origin": "null"}).status_code == 403
        crossed = {"Origin": floor.base, "Sec-Fetch-Site": "cross-site"}
        assert post(path, data=good, headers=crossed).status_code == 403
        for wrong in ("", "x" * 43):
            data = {**good, "csrf": wrong}
            assert post(path, data=data, headers={"Origin": floor.base}).status_code == 403
        assert person.get("/").status_code == 200  # still signed in


def test_a_form_is_small(floor: Any, person: Person) -> None:
    person.sign_in(floor.tokens["boss"])
    answer = person.send("/list/act?id=x", {"campaign": "x" * (2 << 20)})
    assert answer.status_code == 413

    def without_end() -> Iterator[bytes]:
        yield b"csrf="

    headers = {"Origin": floor.base}
    chunked = person.http.post("/list/act?id=x", content=without_end(), headers=headers)
    assert chunked.status_code == 413


def test_another_name_for_this_machine_leads_nowhere(floor: Any, person: Person) -> None:
    answer = person.get("/signin", Host="evil.example")
    assert answer.status_code == 421 and "started with" in answer.text
    assert person.get("/signin", Host=floor.base.removeprefix("http://")).status_code == 200


@pytest.mark.parametrize("path", ["/signin", "/static/console.js", "/nowhere", "/events", "/enter"])
def test_every_answer_has_what_a_browser_needs_to_be_strict(person: Person, path: str) -> None:
    headers = person.get(path).headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert (
        "unsafe" not in CONTENT_SECURITY_POLICY and "default-src 'none'" in CONTENT_SECURITY_POLICY
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert path.startswith("/static") or headers["cache-control"] == "no-store"


def test_no_file_beside_the_assets_is_served(person: Person) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/static/..%2fapp.py"):
        assert person.http.get(path).status_code in (303, 404), path


def test_what_nobody_knows_is_a_page_that_says_so(floor: Any, person: Person) -> None:
    person.sign_in(floor.tokens["viewer"])
    assert person.get("/nowhere").status_code == 404
    for path in ("/list?id=none", "/record?list=none&id=1"):
        answer = person.get(path)
        assert answer.status_code == 404 and "go back to the lists" in answer.text
    assert person.http.get("/signout").status_code == 405


def test_a_failure_of_our_own_is_a_page_too(
    floor: Any, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.sign_in(floor.tokens["viewer"])

    def fail(*_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("ownerd.console.views.lists.lists_view", fail)
    answer = person.get("/")
    assert answer.status_code == 500 and "Something went wrong on the way" in answer.text
    assert "a defect" not in answer.text and answer.headers["content-security-policy"]


# ---- one's own console, by the address that was printed


@pytest.fixture(scope="module")
def own(floor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleThread]:
    file: Path = tmp_path_factory.mktemp("own") / "token"
    file.write_text(floor.tokens["boss"])
    settings = Settings(Upstream(floor.server.admin_address), port=0, token_file=str(file))
    with ConsoleThread(settings) as console:
        yield console


def test_the_printed_address_lets_in_and_nothing_else_does(own: ConsoleThread) -> None:
    with Person(own.base) as person:
        assert "/enter?key=" in own.address
        answer = person.get(own.address)
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        page = person.get("/")
        assert page.status_code == 200 and "boss" in page.text
        assert person.send("/signout").status_code == 303
        assert "Open the address" in person.get("/signin").text
    with Person(own.base) as stranger:
        for path in ("/", "/enter", "/enter?key=", "/enter?key=" + "x" * 43):
            assert stranger.get(path).headers["location"].startswith("/signin")
        assert stranger.send("/signin", {"token": "x"}).status_code == 403


def test_behind_a_proxy_the_cookie_is_of_that_name_and_secure(floor: Any) -> None:
    settings = Settings(
        Upstream(floor.server.admin_address),
        port=0,
        sign_in=True,
        public_url="https://ownerd.example",
    )
    with ConsoleThread(settings) as console:
        assert console.address == "https://ownerd.example/"
        answer_base = f"http://127.0.0.1:{console.port}"
        with Person(answer_base, Host="ownerd.example") as person:
            person.base = "https://ownerd.example"
            answer = person.send("/signin", {"token": floor.tokens["viewer"]})
            cookie = cookie_of(answer, "__Host-ownerd")
            assert cookie["secure"] and cookie["httponly"] and not cookie["domain"]
            assert answer.headers["strict-transport-security"]
        with Person(answer_base) as direct:
            assert direct.get("/signin").status_code == 421
