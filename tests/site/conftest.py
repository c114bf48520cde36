"""A browser."""

from tests import browsing

browser = browsing.browser
