"""The playground as a reader meets it: presets, links, controls, themes, widths."""

import itertools
import re

import pytest

from tests.browsing import Visit
from tests.playground.conftest import BUILD

STEPS = 400
"""Steps after which the page waits for the reader."""

LOSSES = """([name, seed, steps]) => {
    const preset = playground.PRESETS.find((one) => one.name === name);
    const experiment = new playground.Experiment({ ...playground.DEFAULTS, ...preset.settings, seed });
    for (let i = 0; i < steps; i++) experiment.step();
    const loss = (run) => run.losses.at(-1);
    const saturated = (run) => run.pass.layers.map((_, layer) => playground.shares(run, layer).flat);
    const { chosen, tied, frozen } = experiment;
    return {
        rule: loss(chosen), derivative: loss(tied), frozen: loss(frozen),
        saturated: saturated(chosen), ordinary: saturated(tied), cosines: experiment.measure(),
    };
}"""


@pytest.mark.parametrize("seed", [0, 1, 2])
class TestPresetsShowWhatTheySay:
    """Losses at the pause; chance is 0.693."""

    def test_a_step_learns_through_a_window_and_not_by_calculus(self, quiet, seed):
        found = quiet.evaluate(LOSSES, ["window", seed, STEPS])
        assert found["derivative"] == found["frozen"] > 0.2
        assert found["rule"] < 0.4 * found["frozen"]

    def test_a_constant_hurts_relu(self, quiet, seed):
        found = quiet.evaluate(LOSSES, ["ungated", seed, STEPS])
        assert found["derivative"] < 0.05
        assert found["rule"] > 0.2
        assert min(found["cosines"]) < 0.6

    def test_gated_random_numbers_do_not(self, quiet, seed):
        found = quiet.evaluate(LOSSES, ["gated", seed, STEPS])
        assert max(found["rule"], found["derivative"]) < 0.05
        assert found["frozen"] > 0.3

    def test_logistic_saturates_under_a_jam(self, quiet, seed):
        found = quiet.evaluate(LOSSES, ["saturates", seed, STEPS])
        assert sum(found["saturated"]) > 2 * sum(found["ordinary"])
        assert found["rule"] > found["derivative"] + 0.2


def wait_for_steps(page, steps):
    page.wait_for_function("(steps) => Number(document.getElementById('steps').textContent) >= steps", arg=steps)


def test_one_file_of_moderate_size_that_asks_for_nothing_and_complains_of_nothing(browser, address):
    assert len(BUILD["page"]().encode()) < 500_000
    with Visit(browser, address) as visit:
        page = visit.page
        for button in page.locator("#presets button").all():
            button.click()
            wait_for_steps(page, 3)
        for name in ("play", "step", "reset", "python", "link", "theme"):
            page.locator(f"#{name}").click()
        page.wait_for_load_state("networkidle")
        assert {url.partition("#")[0] for url in visit.requests} <= {address, "data:,"}
        assert visit.complaints == []


def test_it_starts_by_itself_and_waits_at_a_pause(browser, address):
    with Visit(browser, f"{address}#width=2&depth=1") as visit:
        visit.page.locator("#speed").select_option("20")
        wait_for_steps(visit.page, STEPS)
        assert visit.page.locator("#steps").inner_text() == str(STEPS)
        assert visit.page.locator("#play").inner_text() == "Play"


def test_a_frame_ends_when_its_time_is_up(browser, address):
    """Not when a number of steps is done: here each look at the clock takes a tenth of a second."""
    with Visit(browser, address, reduced_motion="reduce") as visit:
        page = visit.page
        page.evaluate("() => { let now = 0; performance.now = () => (now += 100); }")
        page.locator("#speed").select_option("20")
        counts = page.evaluate(
            """() => new Promise((resolve) => {
                const counts = [];
                const look = () => {
                    counts.push(Number(document.getElementById("steps").textContent));
                    if (counts.length < 6) requestAnimationFrame(look);
                    else resolve(counts);
                };
                document.getElementById("play").click();
                requestAnimationFrame(look);
            })"""
        )
        assert max(later - earlier for earlier, later in itertools.pairwise(counts)) <= 1


def test_play_step_and_reset_by_keyboard(browser, address):
    with Visit(browser, address, reduced_motion="reduce") as visit:
        page, steps = visit.page, visit.page.locator("#steps")
        assert steps.inner_text() == "1"
        page.locator("#step").focus()
        page.keyboard.press("Enter")
        assert steps.inner_text() == "2"
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Space")
        assert page.locator("#play").inner_text() == "Pause"
        wait_for_steps(page, 5)
        page.keyboard.press("Space")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert steps.inner_text() == "1"


def test_every_control_has_a_name_and_every_picture_words(quiet):
    nameless = quiet.evaluate(
        """() => [...document.querySelectorAll("select, input, button")]
            .filter((one) => !(one.labels?.[0]?.textContent.trim() || one.textContent.trim())).length"""
    )
    assert nameless == 0
    words = [canvas.get_attribute("aria-label") for canvas in quiet.locator("canvas").all()]
    assert len(words) == 7
    assert all(words)


def test_a_link_leads_to_its_settings_and_the_page_to_its_link(browser, address):
    wanted = "#data=moons&noise=0.2&depth=3&width=4&forward=relu&optimiser=sgd&rate=0.5&seed=9"
    with Visit(browser, f"{address}{wanted}&rule=full_jam+%3E%3E+gated", reduced_motion="reduce") as visit:
        page = visit.page
        assert page.locator("[name=data]").input_value() == "moons"
        assert page.locator("[name=then]").input_value() == "gated"
        assert page.locator("#panels canvas").count() == 3
        page.locator("[name=rule]").select_option("rectangular")
        page.locator("[data-parameter=low]").fill("-2")
        page.locator("[data-parameter=low]").press("Enter")
        settings = page.evaluate("playground.readSettings(location.hash)")
        assert settings["complaints"] == []
        assert settings["settings"]["rule"] == "rectangular(-2, 0.5) >> gated"
        assert settings["settings"]["seed"] == 9
        address_now = page.url
    with Visit(browser, address_now, reduced_motion="reduce") as again:
        assert again.page.locator("[data-parameter=low]").input_value() == "-2"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("rule=<img src=x onerror=alert(1)>", "There is no rule <img"),
        ("rule=constructor", "There is no rule constructor"),
        ("__proto__=1", "unknown setting"),
        ("depth=9", "expected one of 1, 2, 3, 4"),
        ("rate=fast", "expected a number"),
        ("seed=1.5", "expected a whole number"),
        ("forward=heaviside&rule=tied", "0 almost everywhere"),
        ("forward=relu&rule=regelu2", "nothing to follow beside relu"),
        ("rule=atan >> sign >> sign", "at most 2"),
    ],
)
def test_a_wrong_link_is_answered_in_words_and_runs_nothing(browser, address, wanted, words):
    with Visit(browser, f"{address}#{wanted}", reduced_motion="reduce") as visit:
        notice = visit.page.locator("#notice")
        assert words in notice.inner_text()
        assert notice.locator("*").count() == 0
        assert visit.page.locator("#steps").inner_text() == "1"
        assert visit.complaints == []


def test_a_wrong_parameter_is_named_and_changes_nothing(browser, address):
    with Visit(browser, address, reduced_motion="reduce") as visit:
        page, before = visit.page, visit.page.url
        low = page.locator("[data-parameter=low]")
        low.fill("3")
        low.press("Enter")
        assert page.locator("#error").inner_text() == "rectangular needs low < high."
        assert low.get_attribute("aria-invalid") == "true"
        page.locator("[name=rule]").select_option("tied")
        assert "The library refuses it" in page.locator("#error").inner_text()
        page.locator("[name=forward]").select_option("relu")
        assert not page.locator("#error").is_visible()
        assert page.url != before
        assert page.locator("[aria-invalid]").count() == 0


def test_the_program_is_shown_and_copied(browser, address):
    with Visit(browser, address, reduced_motion="reduce", permissions=["clipboard-read", "clipboard-write"]) as visit:
        page = visit.page
        page.locator("#python").click()
        shown = page.locator("#code").inner_text()
        assert re.search(r'tl\.Activation\("heaviside", "rectangular\(-0\.5, 0\.5\)"\)', shown)
        page.locator("#copy").click()
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()").strip() == shown.strip()


def test_themes_follow_the_system_the_switch_and_the_site(browser, address):
    with Visit(browser, address, color_scheme="light") as light, Visit(browser, address, color_scheme="dark") as dark:
        white, black = light.style("html", "backgroundColor"), dark.style("html", "backgroundColor")
        assert (white, black) == ("rgb(251, 251, 250)", "rgb(20, 22, 26)")
        light.page.locator("#theme").click()
        assert light.style("html", "backgroundColor") == black
        light.page.add_init_script("""localStorage.setItem("/.__palette", '{"index":1,"color":{"scheme":"slate"}}')""")
        light.page.reload()
        assert light.style("html", "backgroundColor") == black


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1440])
def test_no_width_scrolls_sideways(browser, address, width):
    wide = "#depth=4&forward=signed_staircase(2)&rule=rectangular_jam+%3E%3E+rectangular_jam"
    with Visit(browser, address + wide, viewport={"width": width, "height": 800}, reduced_motion="reduce") as visit:
        visit.page.locator("#python").click()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
