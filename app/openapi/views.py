"""The route of the OpenAPI document."""

from __future__ import annotations

from flask import Response, current_app
from marshmallow import INCLUDE, Schema, fields

from app import openapi
from app.api.access import ANYONE
from app.api.conditional import is_unchanged
from app.api.fields import OutputSchema
from app.api.responses import REVALIDATE, written
from app.api.routing import Api

documents = Api("documents", __name__)


class OpenApi(OutputSchema):
    """An OpenAPI document."""

    class Meta:
        unknown = INCLUDE

    openapi = fields.String(metadata={"example": "3.1.0"})
    info = fields.Dict(metadata={"example": {"title": "Gatepost", "version": "1.0.0"}})
    paths = fields.Dict(metadata={"example": {"/health": {"get": {"operationId": "get_health"}}}})


OPENAPI: Schema = OpenApi()


@documents.operation("GET", "/openapi.json", access=ANYONE, answer=written(OPENAPI, cache=REVALIDATE, is_tagged=True))
def get_openapi() -> Response:
    """Get the OpenAPI 3.1 document of this service."""
    content, etag = openapi.find_document(current_app)
    if is_unchanged(etag):
        return Response(status=304, headers={"ETag": etag})
    return Response(content, headers={"ETag": etag}, mimetype="application/json")
