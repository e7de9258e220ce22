"""A real headless browser for the tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def launched() -> Iterator[Any]:
    """Yield a headless browser that is installed on this machine; skip the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs chiqpm[browser]")
    path = next((found for found in map(shutil.which, _NAMES) if found), None)
    if path is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(_NAMES)})")
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """One page with everything that it complained of and asked for.

    Args:
        browser: the browser.
        address: of the page.
        **options: of the browser's context.
    """

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def elsewhere(self, *allowed: str) -> list[str]:
        """Return the requests that went anywhere but to these addresses."""
        return [url for url in self.requests if not url.startswith((*allowed, "data:", "blob:", "about:"))]

    def serious(self, exclude: tuple[str, ...] = ()) -> list[str]:
        """Return the serious and critical findings of axe-core."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs chiqpm[browser]")
        context = {"exclude": [[selector] for selector in exclude]} if exclude else None
        found = axe.Axe().run(self.page, context=context).response["violations"]
        return [
            f"{rule['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
            for rule in found
            if rule["impact"] in {"serious", "critical"}
            for node in rule["nodes"]
        ]
