"""Debian's Firefox, driven through WebDriver BiDi: https://www.w3.org/TR/webdriver-bidi/."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.sync.client import ClientConnection, connect

from tests.support.builders import eventually

PROGRAM = "/usr/bin/firefox-esr"
TIMEOUT = 60  # seconds, for a busy machine
EVENTS = ("log.entryAdded", "browsingContext.load", "network.beforeRequestSent")
PREFERENCES: dict[str, object] = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    # What Firefox itself asks for outside of this machine ends at a proxy that does not exist.
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 1,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 1,
    "network.proxy.no_proxies_on": "127.0.0.1",
}


class BidiError(Exception):
    """A command failed, or an expression threw an exception."""


@contextmanager
def running_firefox(profile: Path, *, dark: bool) -> Iterator["Firefox"]:
    """Firefox without windows, by an empty folder for its profile; pages see that it prefers a dark or light scheme."""
    preferences = PREFERENCES | {"layout.css.prefers-color-scheme.content-override": 0 if dark else 1}
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
    (profile / "user.js").write_text("".join(lines), encoding="utf-8")
    address = profile / "WebDriverBiDiServer.json"  # written when Firefox listens
    command = [PROGRAM, "--headless", "--no-remote", "--remote-debugging-port=0", "--profile", str(profile)]
    with (profile / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:  # noqa: S603 (fixed)
        try:
            assert eventually(lambda: address.exists() and address.read_text().endswith("}"), TIMEOUT), "not started"
            server = json.loads(address.read_text())
            url = f"ws://{server['ws_host']}:{server['ws_port']}/session"
            with connect(url, max_size=None, proxy=None) as connection:
                yield Firefox(connection)
        finally:
            process.kill()


class Firefox:
    """A running Firefox."""

    def __init__(self, connection: ClientConnection) -> None:
        """Begin a session."""
        self._connection = connection
        self._number = 0
        self._events: list[dict[str, Any]] = []
        self.command("session.new", capabilities={})
        self.command("session.subscribe", events=[*EVENTS])

    def command(self, method: str, **parameters: object) -> dict[str, Any]:
        """Run a command and return its result. Raises BidiError."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (message := self._receive()).get("id") != self._number:
            pass
        if message["type"] == "error":
            raise BidiError(f"{method}: {message['error']}: {message['message']}")
        result: dict[str, Any] = message["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        """The next message; events are kept."""
        message: dict[str, Any] = json.loads(self._connection.recv(TIMEOUT))
        if message["type"] == "event":
            self._events.append(message)
        return message

    def event_count(self) -> int:
        """The number of events received since `problems` was called."""
        return len(self._events)

    def wait_for(self, condition: Callable[[dict[str, Any]], bool], after: int) -> None:
        """Wait for an event after a number of others."""
        while not any(condition(event) for event in self._events[after:]):
            self._receive()

    @contextmanager
    def tab(self, url: str, width: int = 1280, height: int = 800) -> Iterator["Tab"]:
        """A tab with a viewport in CSS pixels that shows a page."""
        context = self.command("browsingContext.create", type="tab")["context"]
        self.command("browsingContext.setViewport", context=context, viewport={"width": width, "height": height})
        self.command("browsingContext.navigate", context=context, url=url, wait="complete")
        yield Tab(self, context)
        self.command("browsingContext.close", context=context)

    def problems(self) -> list[str]:
        """What pages have logged, errors included, and requests to other hosts than this one, since the last call."""
        self.command("session.status")  # what happened before has been received then
        events, self._events = self._events, []
        found = []
        for event in events:
            parameters = event["params"]
            if event["method"] == "log.entryAdded":
                found.append(f"{parameters['level']}: {parameters['text']}")
            elif event["method"] == "network.beforeRequestSent":
                sent = parameters["request"]["url"]
                found += [] if urlsplit(sent).hostname in ("127.0.0.1", None) else [sent]  # None for data:
        return found


class Tab:
    """A tab of Firefox."""

    def __init__(self, firefox: Firefox, context: str) -> None:
        self._firefox, self._context = firefox, context

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in JavaScript that JSON can represent. Raises BidiError if it throws."""
        parameters = {"target": {"context": self._context}, "awaitPromise": True}
        outcome = self._firefox.command("script.evaluate", expression=f"JSON.stringify({expression})", **parameters)
        if outcome["type"] == "exception":
            raise BidiError(outcome["exceptionDetails"]["text"])
        return json.loads(outcome["result"].get("value", "null"))

    def texts(self, selector: str) -> list[str]:
        """The texts of elements."""
        found: list[str] = self.evaluate(f"[...document.querySelectorAll({selector!r})].map((e) => e.innerText)")
        return found

    def click(self, selector: str) -> None:
        """Click on the middle of an element, as a user does."""
        origin = {"type": "element", "element": self._element(selector)}
        self._perform(
            "pointer",
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        )

    def follow(self, selector: str) -> None:
        """Click on a link or a button and wait until the page that it leads to is loaded."""
        before = self._firefox.event_count()
        self.click(selector)
        self._firefox.wait_for(self._is_loaded, before)

    def type(self, selector: str, text: str) -> None:
        """Click on a field and type."""
        self.click(selector)
        for key in text:
            self._perform("key", {"type": "keyDown", "value": key}, {"type": "keyUp", "value": key})

    def go_back(self) -> None:
        """Go back to the previous page."""
        self._firefox.command("browsingContext.traverseHistory", context=self._context, delta=-1)

    def _element(self, selector: str) -> dict[str, object]:
        target = {"context": self._context}
        expression = f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView(); return e }})()"
        outcome = self._firefox.command("script.evaluate", expression=expression, target=target, awaitPromise=False)
        return {"sharedId": outcome["result"]["sharedId"]}

    def _perform(self, kind: str, *actions: dict[str, object]) -> None:
        source = {"type": kind, "id": kind, "actions": [*actions]}
        self._firefox.command("input.performActions", context=self._context, actions=[source])

    def _is_loaded(self, event: dict[str, Any]) -> bool:
        loaded: str | None = event["params"]["context"] if event["method"] == "browsingContext.load" else None
        return loaded == self._context
