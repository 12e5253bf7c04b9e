"""The feature of posts: texts that users write, as drafts or published."""

from __future__ import annotations

from app.features import Feature
from app.posts import service
from app.posts.examples import EXAMPLES
from app.posts.models import Post
from app.posts.views import posts

feature = Feature(name="posts", api=(posts,), tables=(Post,), exports={"posts": service.export}, examples=EXAMPLES)
