"""Uses the client of openapi-python-client, which the test generates as the package gatepost_client."""

from __future__ import annotations

import json
import os

from gatepost_client import AuthenticatedClient, Client
from gatepost_client.api.auth import get_me, log_in
from gatepost_client.api.posts import create_post, list_posts
from gatepost_client.models import (
    InvalidCredentialsProblem,
    ListedPostPage,
    Login,
    NewPost,
    Post,
    PrivateUser,
    TokenAnswer,
    UnauthorizedProblem,
    ValidationProblem,
)

POSTS, LIMIT = 5, 2
URL, EMAIL = os.environ["GATEPOST_URL"], os.environ["GATEPOST_EMAIL"]


def walk(client: AuthenticatedClient, author_id: int) -> tuple[list[str], int]:
    """Return the titles of the author's posts, and the number of pages."""
    titles: list[str] = []
    pages = 1
    page = list_posts.sync(client=client, author_id=author_id, limit=LIMIT)
    while True:
        assert isinstance(page, ListedPostPage)
        titles += [post.title for post in page.items]
        if not page.pagination.next_cursor:
            return titles, pages
        cursor = page.pagination.next_cursor
        page = list_posts.sync(client=client, author_id=author_id, limit=LIMIT, cursor=cursor)
        pages += 1


def main() -> None:
    """Log in, write and read, and print what was read."""
    anonymous = Client(base_url=URL)
    login = log_in.sync(client=anonymous, body=Login(email=EMAIL, password=os.environ["GATEPOST_PASSWORD"]))
    assert isinstance(login, TokenAnswer)
    client = AuthenticatedClient(base_url=URL, token=login.access_token)
    me = get_me.sync(client=client)
    assert isinstance(me, PrivateUser)
    for number in range(1, POSTS + 1):
        created = create_post.sync(client=client, body=NewPost(title=f"Post {number}", content="Text."))
        assert isinstance(created, Post)
    titles, pages = walk(client, me.id)
    refused = log_in.sync(client=anonymous, body=Login(email=EMAIL, password="wrong"))
    assert isinstance(refused, InvalidCredentialsProblem)
    unknown = get_me.sync(client=AuthenticatedClient(base_url=URL, token="unknown"))
    assert isinstance(unknown, UnauthorizedProblem)
    invalid = list_posts.sync(client=client, limit=0)
    assert isinstance(invalid, ValidationProblem)
    report = {
        "email": me.email,
        "titles": titles,
        "pages": pages,
        "invalidCredentials": refused.code,
        "unauthorized": unknown.code,
        "invalidFields": invalid.errors.additional_keys,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
