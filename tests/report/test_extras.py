from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
sys.modules.update(jinja2=None, rich=None, scipy=None)
from tieless.errors import MissingExtraError
from tieless.report import html, terminal
from tieless.study import Differences, power
Differences.of([0.1, 0.2]).interval  # needs none of them
for call in (
    lambda: html.render(None), lambda: terminal.table(None), lambda: Differences.of([0.1] * 5), lambda: power(5, 1.0, 1.0)
):
    try:
        call()
    except MissingExtraError as error:
        print(error)
"""


def test_a_missing_package_is_one_line_that_names_its_extra():
    # In a process of its own: here the packages have been imported long ago.
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"This needs {package}, which is not installed: pip install '.[{extra}]' in a clone of tieless."
        for package, extra in (("jinja2", "report"), ("rich", "study"), ("scipy", "study"), ("scipy", "study"))
    ]
