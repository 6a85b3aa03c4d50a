"""Looks at links with a real Chromium, as people do, and lets axe-core judge what they see.

    python3 browser.py < WHAT

Needs playwright (PyPI), Chromium as /usr/bin/chromium, and axe-core (npm). The first line of standard input is JSON:

    axe       path of axe.min.js
    shots     directory in which pictures of the pages are left
    links     by name: file, picture, drawing, active, sound, film, locked, folder, limited, large, closed
    password  of "locked"
    sums      by name of a link: SHA-256 of what a download of it has to be

Says "kill" when the server is to be killed in the middle of a download, and waits for a line. Exits with 0 when all is as
it should be; whatever is not is said and ends it.
"""

import hashlib
import json
import socket
import sys
import threading
import time
import urllib.parse
import zipfile
from pathlib import Path

from playwright.sync_api import sync_playwright

PATIENCE = 60_000
# A desktop, a phone as narrow as they come, and a desktop at 200 % zoom: half as many CSS pixels, twice as dense.
VIEWS = {
    "wide": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 320, "height": 640}, "device_scale_factor": 2},
    "zoomed": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
}
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class SlowRelay:
    """Forwards TCP connections to a server, from it at a limited rate, and only as long as both sides are there."""

    def __init__(self, target, rate):
        self.target, self.rate = target, rate
        self.sent = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            threading.Thread(target=self.connect, args=(near,), daemon=True).start()

    def connect(self, near):
        try:
            far = socket.create_connection(self.target)
        except OSError:
            near.close()
            return
        threading.Thread(target=self.forward, args=(near, far, None), daemon=True).start()
        self.forward(far, near, self.rate)

    def forward(self, source, sink, rate):
        try:
            while data := source.recv(16 << 10):
                sink.sendall(data)
                if rate:
                    self.sent += len(data)
                    time.sleep(len(data) / rate)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Visit:
    """One browser with what was asked for."""

    def __init__(self, browser, told):
        self.browser = browser
        self.axe = Path(told["axe"]).read_text(encoding="utf-8")
        self.shots = Path(told["shots"])
        self.links, self.password, self.sums = told["links"], told["password"], told["sums"]

    def context(self, view="wide", scheme="light"):
        context = self.browser.new_context(color_scheme=scheme, accept_downloads=True, **VIEWS[view])
        context.set_default_timeout(PATIENCE)
        return context

    def page(self, context, address, expected=200):
        """Opens a page that loads without a complaint of the browser."""
        page = context.new_page()
        complaints = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        answer = page.goto(address, wait_until="load")
        assert answer.status == expected, (address, answer.status)
        if expected == 200:
            assert not complaints, (address, complaints)
        return page

    def judge(self, page, name):
        """Nothing is wider than the window, and axe finds nothing."""
        width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert width[0] <= width[1], f"{name}: {width[0]} pixels in a window of {width[1]}"
        page.screenshot(path=str(self.shots / f"{name}.png"), full_page=True)
        # In a window of its own height nothing is hidden by an edge: what axe cannot see it cannot judge.
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": page.viewport_size["width"], "height": height + 50})
        # Playwright's own world: the page's policy forbids scripts, and that has to stay so.
        page.evaluate(self.axe + "; 0")
        found = page.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
        problems = [(one["id"], one["help"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
        assert not problems, f"{name}: {problems}"
        # What axe cannot decide by itself, it must at least not be contrast: colours here are plain.
        unsure = [one["id"] for one in found["incomplete"] if one["id"] == "color-contrast"]
        assert not unsure, f"{name}: {found['incomplete']}"
        return len(found["passes"])

    def pages(self):
        shown = {
            "file": 200, "picture": 200, "drawing": 200, "active": 200, "sound": 200, "film": 200,
            "locked": 401, "folder": 200, "limited": 200, "closed": 404,
        }
        rules = 0
        for scheme in ("light", "dark"):
            for view in VIEWS:
                context = self.context(view, scheme)
                for name, status in shown.items():
                    page = self.page(context, self.links[name], status)
                    rules += self.judge(page, f"{name}-{view}-{scheme}")
                    page.close()
                context.close()
        print(f"{len(shown)} pages in 3 sizes and 2 themes: axe-core finds nothing ({rules} rules passed)")

    def previews(self):
        context = self.context()
        for name in ("picture", "drawing"):
            page = self.page(context, self.links[name])
            width = page.evaluate("document.querySelector('main img').naturalWidth")
            assert width == 32, (name, width)
        for name, element in (("sound", "audio"), ("film", "video")):
            page = self.page(context, self.links[name])
            page.wait_for_function(f"document.querySelector('{element}').readyState >= 1")
            assert page.evaluate(f"document.querySelector('{element}').error") is None, name
        page = self.page(context, self.links["active"])
        assert "<script>" in page.locator("main pre").first.inner_text(), "the source of a page is its preview"
        for name in ("active", "drawing"):
            page = context.new_page()
            page.goto(self.links[name] + "/raw")
            assert page.evaluate("document.title") != "was run", f"{name}: what is active was run"
            page.close()
        context.close()
        print("previews: pictures, sound, film; what is active is not run")

    def keyboard(self):
        context = self.context()
        page = self.page(context, self.links["file"])
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "(e => [e.textContent, getComputedStyle(e).outlineStyle, getComputedStyle(e).outlineWidth])(document.activeElement)"
        )
        assert focused[0].startswith("Download") and focused[1] == "solid" and focused[2] == "3px", focused
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        self.same(download.value, "file")

        page = self.page(context, self.links["folder"])
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('th') !== null"), "the columns are sorted by keyboard"
        page.keyboard.press("Enter")
        page.wait_for_url("**?sort=*")
        context.close()
        print("keyboard: a download and a sorted list by Tab and Enter, with a ring that is seen")

    def same(self, download, name):
        assert download.failure() is None, download.failure()
        digest = hashlib.sha256(Path(download.path()).read_bytes()).hexdigest()
        assert digest == self.sums[name], (name, digest, self.sums[name])

    def unlock(self):
        context = self.context()
        page = self.page(context, self.links["locked"], 401)
        page.get_by_label("Password").fill("guessed")
        page.get_by_role("button", name="Open").click()
        page.get_by_role("alert").wait_for()
        self.judge(page, "wrong-password")
        page.get_by_label("Password").fill(self.password)
        page.keyboard.press("Enter")
        page.wait_for_url(self.links["locked"])
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        self.same(download.value, "locked")
        context.close()
        other = self.context()
        self.page(other, self.links["locked"], 401)
        other.close()
        print("password: a wrong one is told, the right one opens, for this browser only")

    def folder(self):
        context = self.context()
        page = self.page(context, self.links["folder"])
        page.get_by_role("link", name="Size").click()
        assert page.locator("th[aria-sort=descending]").inner_text() == "Size"
        names = page.locator("tbody tr td:first-child").all_inner_texts()
        assert names[0] == "inner/", f"folders stand first: {names}"
        page.get_by_text("Names that are others in the zip").click()
        assert page.locator("details dd").first.is_visible(), "what is renamed is listed"
        page.get_by_role("link", name="inner").click()
        page.get_by_role("link", name="deep.txt").click()
        assert page.get_by_role("navigation").get_by_role("link").count() == 2, "the way back has two steps"
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        self.same(download.value, "deep")
        page.get_by_role("navigation").get_by_role("link").first.click()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download all").click()
        assert download.value.suggested_filename.endswith(".zip"), download.value.suggested_filename
        archive = zipfile.ZipFile(download.value.path())
        assert archive.testzip() is None and any(name.endswith("inner/deep.txt") for name in archive.namelist())
        context.close()
        print("folder: sorted, walked through, back by the breadcrumbs, one archive")

    def limited(self):
        context = self.context()
        page = self.page(context, self.links["limited"])
        with page.expect_download() as download:
            page.get_by_role("button", name="Download").click()
        self.same(download.value, "limited")
        context.close()
        print("limited: a button begins the one download that is counted")

    def resumed(self):
        """A download that the server dies in is finished by the browser's own means."""
        address = urllib.parse.urlsplit(self.links["large"])
        relay = SlowRelay((address.hostname, address.port), 8 << 20)
        context = self.context()
        page = self.page(context, address._replace(netloc=f"127.0.0.1:{relay.port}").geturl())
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        until(page, lambda: relay.sent > 4 << 20, "some of it to arrive")
        before, total = relay.sent, 40 << 20
        assert before < total // 2, before
        print("kill", flush=True)
        sys.stdin.readline()
        self.same(download.value, "large")
        context.close()
        print(f"resumed: the server was killed after {before >> 20} of 40 MiB; {relay.sent >> 20} MiB made the file whole")
        assert relay.sent < 2 * total - before, "it went on and did not begin anew"


def until(page, condition, what):
    deadline = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        # Events arrive while the page is asked something.
        page.wait_for_timeout(20)


def main():
    told = json.loads(sys.stdin.readline())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        visit = Visit(browser, told)
        for step in (visit.pages, visit.previews, visit.keyboard, visit.unlock, visit.folder, visit.limited, visit.resumed):
            step()
            sys.stdout.flush()
        browser.close()


if __name__ == "__main__":
    main()
