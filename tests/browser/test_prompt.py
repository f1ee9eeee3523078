"""The lines under the prompt, and what becomes of alternatives and wildcards."""

import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Route, expect

from .conftest import Fake, Watch, generate, holding, http, seed, wait_with, write

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")]


def test_tokens_are_counted_during_typing(fake: Fake, open_page):
    """The count follows the prompt and its limit, and is not there where there is no prompt."""
    page = open_page(fake.url)
    expect(page.locator(".zi-count")).to_be_hidden()
    write(page, "one two three")
    expect(page.locator(".zi-count-text")).to_have_text("3 / 512 tokens")
    write(page, "")
    expect(page.locator(".zi-count")).to_be_hidden()


def test_a_prompt_over_the_limit_warns_and_one_click_raises_it(fake: Fake, open_page):
    """Above the limit it says how much is not read; the offer raises the limit in the form, and the warning goes."""
    page = open_page(fake.url)
    write(page, "word " * 520)
    expect(page.locator(".zi-count.zi-over")).to_contain_text("520 / 512 tokens: the last 8 are not read")
    page.get_by_role("button", name="Raise the limit to 1024").click()
    expect(page.locator(".zi-count")).to_contain_text("520 / 1024 tokens")
    expect(page.locator(".zi-count.zi-over")).to_have_count(0)
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_be_visible()
    assert fake.generator.recipes[-1].max_sequence_length == 1024


def test_no_count_where_the_model_cannot_say(fake: Fake, open_page):
    """While the tokenizer is not there, there is no number and no error."""
    page = open_page(fake.url)
    page.route("**/prompt-info", lambda route: route.fulfill(json={"prompt": "a b", "tokens": None, "limit": 512}))
    with page.expect_response("**/prompt-info"):
        write(page, "a b")
    expect(page.locator(".zi-count")).to_be_hidden()
    expect(page.locator(".zi-prompt-trouble")).to_be_hidden()


def test_alternatives_are_picked_from_the_seed_and_repeated_from_the_cache(fake: Fake, open_page):
    """What is picked is shown before and drawn; the same seed picks the same again, and that is a hit."""
    page = open_page(fake.url)
    page.fill("#zi-seed input", "3")
    write(page, "a {red|green|blue|white|black} barn, {old|new}")
    expect(page.locator(".zi-expanded")).to_contain_text("Drawn as: a ")
    text = page.inner_text(".zi-expanded-text")
    page.click("#zi-generate")
    expect(page.locator('.zi-badge[data-source="generated"]')).to_be_visible()
    expect(page.locator(".zi-asked")).to_have_text(text)
    assert fake.generator.recipes[-1].prompt == text
    assert "{" not in text
    page.click("#zi-generate")
    expect(page.locator('.zi-badge[data-source="memory"]')).to_be_visible()
    page.locator('.zi-tool[data-tool="use"]').click()
    expect(page.locator("#zi-prompt textarea")).to_have_value(text)
    expect(page.locator(".zi-expanded")).to_be_hidden()


def test_full_width_braces_are_pointed_out_and_drawn_as_they_stand(fake: Fake, open_page):
    """The line under the prompt says that they are text; what is drawn has every sign."""
    page = open_page(fake.url)
    write(page, "｛红｜蓝｝的猫")
    expect(page.locator(".zi-notices")).to_contain_text("｛ ｜ ｝ look like syntax")
    page.click("#zi-generate")
    expect(page.locator(".zi-badge")).to_be_visible()
    assert fake.generator.recipes[-1].prompt == "｛红｜蓝｝的猫"
    write(page, "{红|红}的猫")
    expect(page.locator(".zi-expanded-text")).to_have_text("红的猫")
    expect(page.locator(".zi-notices")).to_be_hidden()


def test_another_seed_may_pick_otherwise(fake: Fake, open_page):
    """The picks follow the seed: among many seeds there are several."""
    page, picked = open_page(fake.url), set()
    write(page, "a {red|green|blue} door")
    for number in range(6):
        with page.expect_response("**/prompt-info") as told:
            page.fill("#zi-seed input", str(1000 + number))
        picked.add(told.value.json()["prompt"])
    assert len(picked) > 1


def test_wildcards_come_from_files_and_an_unknown_one_is_named(fake: Fake, open_page):
    """A known name is drawn as one of its lines; an unknown one is an error with the names there are, drawn never."""
    folder = fake.workspace / "wildcards"
    folder.mkdir()
    (folder / "animal.txt").write_text("fox\nowl\nheron\n")
    page = open_page(fake.url)
    write(page, "a small __animal__ at night")
    expect(page.locator(".zi-expanded-text")).to_have_text(re.compile("^a small (fox|owl|heron) at night$"))
    drawn = len(fake.generator.recipes)
    write(page, "a small __anmial__ at night")
    expect(page.locator(".zi-prompt-trouble")).to_contain_text("anmial")
    expect(page.locator(".zi-prompt-trouble")).to_contain_text("animal")
    page.click("#zi-generate")
    expect(page.locator("#zi-prompt .zi-fault")).to_contain_text("animal")
    assert len(fake.generator.recipes) == drawn
    write(page, "a small __animal__ at night")
    expect(page.locator(".zi-prompt-trouble")).to_be_hidden()


def test_a_hostile_expansion_is_text(fake: Fake, open_page):
    """What the server made of the prompt is shown as text, whatever it looks like."""
    page = open_page(fake.url)
    write(page, "{<img src=x onerror=alert(1)>|<img src=x onerror=alert(1)>}")
    expect(page.locator(".zi-expanded-text")).to_have_text("<img src=x onerror=alert(1)>")
    assert page.locator(".zi-expanded-text img").count() == 0


def test_a_hidden_page_counts_nothing(fake: Fake, open_page, watch: Watch):
    """While the page is hidden no question is sent; shown again, it catches up."""
    page = open_page(fake.url)
    page.evaluate("Object.defineProperty(document, 'hidden', { configurable: true, value: true })")
    write(page, "typed in the dark")
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 600))")  # more than the moment it waits otherwise
    assert watch.requests.count("/prompt-info") <= 1  # the one that the opening asked
    before = watch.requests.count("/prompt-info")
    page.evaluate("Object.defineProperty(document, 'hidden', { configurable: true, value: false })")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    wait_with(page, lambda: watch.requests.count("/prompt-info") == before + 1)
    expect(page.locator(".zi-count-text")).to_have_text("4 / 512 tokens")


def test_only_the_latest_question_is_answered(fake: Fake, open_page):
    """An answer for an earlier text is not shown below the present one."""
    page = open_page(fake.url)
    held: list[Route] = []
    page.route("**/prompt-info", lambda route: held.append(route) if not held else route.continue_())
    write(page, "first of all")
    wait_with(page, lambda: held)
    write(page, "now four words here")
    expect(page.locator(".zi-count-text")).to_have_text("4 / 512 tokens")


def test_a_prompt_of_plain_text_asks_for_no_expansion(fake: Fake, open_page):
    """Where nothing is to be expanded, Generate waits for no count."""
    page = open_page(fake.url)
    page.route("**/prompt-info", holding([]))
    generate(page, "plain and simple", "generated")


SIGNS = (
    "a {red|blue} fox",
    r"\{kept\} and \| and \__ and \\{",
    "__animal__ ____ ___a___ b__ __c",
    '{"json": 1} and { alone | so',
    "{2$$a|b} $$ {1-$$x}",
    r"{__animal__} \ {a} \__animal__ }{",
)


def test_restored_words_ask_for_the_same_picture(fake: Fake, open_page):
    """Characters that were drawn literally are escaped in the form: Generate, a link and Redraw mean the same."""
    page = open_page(fake.url)
    for i, prompt in enumerate(SIGNS):
        body = {"prompt": prompt, "negative_prompt": prompt, "guidance_scale": 2, "seed": i}
        http.post(f"{fake.url}/generate", json=body).raise_for_status()
        page.evaluate("(parameters) => void zimage.restore(parameters)", body)
        expect(page.locator(".zi-asked")).to_have_text(prompt)
        drawn = len(fake.generator.recipes)
        with page.expect_response(lambda answer: answer.url.endswith("/jobs")) as asked:
            page.click("#zi-generate")
        assert asked.value.json()["images"][0]["cached"]
        assert len(fake.generator.recipes) == drawn


def test_words_that_were_drawn_are_not_expanded_again(fake: Fake, open_page):
    """Redraw, Use these settings and a copied link keep every sign of what was drawn."""
    page = open_page(fake.url)
    write(page, r"a \{red|blue\} fox")
    page.click("#zi-generate")
    expect(page.locator(".zi-asked")).to_have_text("a {red|blue} fox")
    with page.expect_response("**/jobs") as asked:
        page.click(".zi-again")
    assert asked.value.request.post_data_json["prompt"] == "a {red|blue} fox"
    expect(page.locator(".zi-badge")).to_contain_text("Newly drawn")
    page.click('.zi-tool[data-tool="use"]')
    expect(page.locator(".zi-told")).to_be_visible()
    expect(page.locator("#zi-prompt textarea")).to_have_value(r"a \{red|blue\} fox")
    page.goto(f"{fake.url}/#{urlencode({'prompt': 'a {red|blue} fox', 'seed': seed(page)})}")
    expect(page.locator(".zi-asked")).to_have_text("a {red|blue} fox")
    expect(page.locator("#zi-prompt textarea")).to_have_value(r"a \{red|blue\} fox")
