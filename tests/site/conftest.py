"""One browser for all tests of the site, and the site that `make book` built."""

import checks
import pytest
from pages import FOLDER
from playwright.sync_api import sync_playwright

from tools.browser import launch


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site():
    with checks.serve(FOLDER) as url:
        yield url
