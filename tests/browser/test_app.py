"""The example app: signing up, posts, drafts, conflicts, lists, keyboard use."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from gatepost.testing.services.gatepost import GatepostServer
from tests.browser import steps
from tests.browser.site import Site
from tests.conftest import PASSWORD

pytestmark = pytest.mark.slow
TEXTS = {
    "A week without notifications": "I turned everything off on Monday.\n\nBy Wednesday I had stopped reaching for my "
    "pocket. What I missed was not the news but the interruptions: they had been my excuse for not finishing things.",
    "On gates": "A good gate says two things at once: here is a way in, and here is where you stop. The old one at the "
    "end of our lane said neither, and sheep have opinions about that.",
    "Bread, third attempt": "Less water, more patience. It rose. I am as surprised as anybody.",
}


def test_from_sign_up_to_sign_out(page: Page) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.get_by_role("link", name="Sign up").first.click()
    form = page.get_by_role("form", name="Sign up")
    form.get_by_label("Name").fill("M")
    form.get_by_label("Email").fill("maria")
    form.get_by_role("button", name="Sign up").click()
    # The errors are shown beside the fields, and the first invalid field has the focus.
    expect(form.get_by_label("Name")).to_be_focused()
    expect(form.get_by_label("Email")).to_have_accessible_description("Not a valid email address.")
    expect(form.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
    steps.picture(page, "sign-up")

    email = steps.new_email()
    form.get_by_label("Name").fill("Maria Lindqvist")
    form.get_by_label("Email").fill(email)
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button", name="Sign up").click()
    expect(page.get_by_role("heading", level=1, name="Posts")).to_be_visible()
    for title, text in TEXTS.items():
        steps.publish(page, title, text)
    steps.picture(page, "feed")
    page.emulate_media(color_scheme="dark")
    steps.picture(page, "feed-dark")
    page.emulate_media(color_scheme="light")

    page.get_by_role("link", name="On gates").click()
    expect(page.get_by_role("heading", level=1, name="On gates")).to_be_visible()
    steps.edit(page, "On old gates", "They lean.")
    expect(page.get_by_role("heading", level=1, name="On old gates")).to_be_visible()
    steps.notice(page, "Saved.")
    steps.picture(page, "post")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    steps.notice(page, "Deleted.")
    expect(page.get_by_role("link", name=re.compile("gates"))).to_have_count(0)

    steps.visit(page, "Profile")
    profile = page.get_by_role("form", name="Profile")
    profile.get_by_label("Name").fill("Maria L.")
    profile.get_by_role("button", name="Save").click()
    expect(page.get_by_role("banner").get_by_text("Maria L.")).to_be_visible()
    steps.picture(page, "profile")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in").first).to_be_visible()
    assert steps.stored_session(page)["account"] is None
    steps.sign_in(page, email)
    assert errors == []


def test_an_account_is_deleted_with_its_password(page: Page) -> None:
    steps.sign_up(page)
    # Afterwards the access token is that of a refresh.
    page.reload()
    steps.visit(page, "Profile")
    form = page.get_by_role("form", name="Deletion")
    form.get_by_label("Password").fill("a wrong one")
    form.get_by_role("button", name="Delete my account and posts").click()
    expect(form.get_by_text("Is not your password.")).to_be_visible()
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button", name="Delete my account and posts").click()
    steps.notice(page, "Your account is deleted.")
    assert steps.stored_session(page)["account"] is None
    expect(page.get_by_role("link", name="Sign in").first).to_be_visible()


def test_a_draft_is_kept_and_published(page: Page) -> None:
    steps.sign_up(page)
    steps.write(page, "Half a thought", "To be", "Save as draft")
    steps.notice(page, "Saved as a draft.")
    expect(page.get_by_role("link", name="Half a thought")).to_have_count(0)
    steps.visit(page, "Drafts")
    steps.picture(page, "drafts")
    page.get_by_role("link", name="Half a thought").click()
    steps.edit(page, "A whole thought", "To be continued.")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("button", name="Publish")).to_have_count(0)
    page.get_by_role("navigation").get_by_role("link", name="Posts").click()
    expect(page.get_by_role("link", name="A whole thought")).to_be_visible()


def test_a_refused_post_is_shown_in_the_form_again(page: Page) -> None:
    steps.sign_up(page)
    steps.write(page, "", "A text without a title, which is not lost.")
    form = page.get_by_role("form", name="New post")
    expect(form.get_by_label("Title")).to_have_accessible_description("Must not be empty.")
    expect(form.get_by_label("Text")).to_have_value("A text without a title, which is not lost.")
    form.get_by_label("Title").fill("Now with a title")
    form.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("link", name="Now with a title")).to_be_visible()


def test_a_conflict_offers_both_versions(page: Page, context: BrowserContext) -> None:
    steps.sign_up(page)
    steps.publish(page, "Our plan", "Version one.")
    page.get_by_role("link", name="Our plan").click()
    page.get_by_role("button", name="Edit").click()
    other = context.new_page()
    other.goto(page.url)
    steps.edit(other, "Our plan", "Version two, from the other tab.")
    steps.notice(other, "Saved.")

    form = page.get_by_role("form", name="Edit post")
    form.get_by_label("Text").fill("Version two, from this tab.")
    form.get_by_role("button", name="Save").click()
    theirs = page.get_by_role("region", name="Saved version")
    expect(theirs.get_by_text("Version two, from the other tab.")).to_be_visible()
    expect(page.get_by_role("region", name="Your version").get_by_text("Version two, from this tab.")).to_be_visible()
    steps.picture(page, "conflict")
    page.get_by_role("button", name="Save my version").click()
    steps.notice(page, "Saved.")
    other.reload()
    expect(other.get_by_text("Version two, from this tab.")).to_be_visible()


def test_scrolling_loads_the_next_page(page: Page, api: GatepostServer) -> None:
    titles = [f"Number {number}, {steps.new_email()}" for number in range(1, 46)]
    steps.write_from_outside(api, titles)
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_role("link", name=titles[-1])).to_be_visible()
    assert page.get_by_role("article").count() < len(titles)
    for _ in range(len(titles)):
        if page.get_by_text("No more posts.").count():
            break
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(100)
    expect(page.get_by_text("No more posts.")).to_be_visible()
    seen = [text for text in page.get_by_role("article").get_by_role("link").all_inner_texts() if text in titles]
    assert seen == titles[::-1]
    # After returning from a post, the list has its former scroll position.
    before = page.evaluate("scrollY")
    assert before > 0
    page.get_by_role("link", name=titles[0], exact=True).click()
    expect(page.get_by_role("heading", level=1, name=titles[0])).to_be_visible()
    page.go_back()
    expect(page.get_by_role("link", name=titles[0], exact=True)).to_be_in_viewport()


def test_the_app_can_be_used_without_a_mouse(page: Page) -> None:
    # A key that is pressed before the page is rendered is lost.
    expect(page.get_by_role("link", name="Sign up").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.get_by_role("link", name="Sign up").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="Sign up")).to_be_visible()
    for text in ("Keyboard", steps.new_email(), PASSWORD):
        page.keyboard.press("Tab")
        page.keyboard.type(text)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.get_by_role("button", name="Write a post…").press("Enter")
    expect(page.get_by_role("form", name="New post").get_by_label("Title")).to_be_focused()
    page.keyboard.type("By keyboard alone")
    page.keyboard.press("Tab")
    page.keyboard.type("Not a mouse was moved.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="By keyboard alone")).to_be_visible()
    expect(page.get_by_role("button", name="Write a post…")).to_be_focused()


def test_pages_that_need_a_session_and_missing_pages(page: Page, app: Site) -> None:
    page.goto(f"{app.url}#/devices")
    expect(page.get_by_text("Sign in to see this page.")).to_be_visible()
    page.goto(f"{app.url}#/nowhere")
    expect(page.get_by_role("heading", name="Page not found")).to_be_visible()
    page.goto(f"{app.url}#/posts/999999999")
    expect(page.get_by_role("heading", name="Post not found")).to_be_visible()
