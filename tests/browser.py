"""A headless Chromium that is asked what it shows, through chromedriver's own protocol (W3C
WebDriver: JSON over HTTP)."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from base64 import b64decode
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "" if CHROMIUM and DRIVER else "needs the Debian packages chromium and chromium-driver"
KEYS = {
    "left": "\ue012",
    "up": "\ue013",
    "right": "\ue014",
    "down": "\ue015",
    "enter": "\ue007",
    "escape": "\ue00c",
}
WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
"""Options for pages that draw with WebGL, which without a graphics card is done by the processor."""

PATIENCE = 60
"""Seconds until what is waited for is given up."""


class Browser:
    """One window; closed by ``with``."""

    def __init__(self, width=1280, height=800, *, drawing=()):
        self.driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
        line = next(line for line in self.driver.stdout if "started successfully on port" in line)
        self.base = f"http://127.0.0.1:{line.split('port ')[1].strip().rstrip('.')}"
        options = [
            "--headless=new", "--no-sandbox", *(drawing or ["--disable-gpu"]), "--disable-dev-shm-usage", "--hide-scrollbars",
            f"--window-size={width},{height}",
        ]  # fmt: skip
        wanted = {"goog:chromeOptions": {"binary": CHROMIUM, "args": options}}
        started = self._ask("/session", {"capabilities": {"alwaysMatch": wanted}})
        self.base += f"/session/{started['sessionId']}"
        self._ask("/window/rect", {"width": width, "height": height})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ask("", method="DELETE")
        self.driver.kill()
        self.driver.wait()
        self.driver.stdout.close()

    def _ask(self, path, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        asked = Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(asked, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from error

    def open(self, address):
        self._ask("/url", {"url": address})

    def run(self, script):
        """What a script returns."""
        return self._ask("/execute/sync", {"script": script, "args": []})

    def press(self, *keys):
        """Keys by their letter, or by the names of :data:`KEYS`."""
        actions = [
            {"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")
        ]
        self._ask("/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def click(self, selector, x=0, y=0):
        """Press the mouse at a distance from the middle of an element."""
        found = self._ask("/element", {"using": "css selector", "value": selector})
        move = {"type": "pointerMove", "origin": found, "x": x, "y": y}
        actions = [move, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self._ask("/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": actions}]})

    def text(self, selector):
        return self.run(f"return document.querySelector({json.dumps(selector)}).textContent")

    def wait(self, condition):
        """Until a JavaScript expression holds."""
        until = time.monotonic() + PATIENCE
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < until, f"waited in vain for {condition}"
            time.sleep(0.05)

    def screenshot(self, path):
        path.write_bytes(b64decode(self._ask("/screenshot")))


def answers(address):
    """Status of a server's answer; None where there is none."""
    try:
        with urlopen(address, timeout=5) as answer:
            return answer.status
    except HTTPError as error:
        return error.code
    except URLError:
        return None
