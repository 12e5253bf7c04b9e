"""OpenTelemetry traces of requests and SQL statements, if OTEL_EXPORTER_OTLP_ENDPOINT is set.

Requires the optional packages: `pip install --require-hashes -r requirements-otel.txt`. OpenTelemetry's own OTEL_*
environment variables configure the exporter, its interval and the sampling.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from flask import Flask

from app.components import components_of
from app.database import db
from app.settings import ConfigurationError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PACKAGE = "opentelemetry.instrumentation.flask"


def init_app(app: Flask) -> None:
    """Instrument the application if OTEL_EXPORTER_OTLP_ENDPOINT is set.

    Raises ConfigurationError if it is set and the packages of requirements-otel.txt are not installed.
    """
    if not os.environ.get(ENDPOINT):
        return
    if find_spec("opentelemetry") is None or find_spec(_PACKAGE) is None:
        raise ConfigurationError({ENDPOINT: ["Needs the packages of requirements-otel.txt."]})
    _instrument(app)


def _instrument(app: Flask) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.flask import FlaskInstrumentor
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # Not the global provider, because two applications in one process must not share it. After a fork the processor
    # restarts its export thread in the child.
    provider = TracerProvider(
        resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "gatepost")})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    instrumentor = FlaskInstrumentor()
    instrumentor.instrument_app(  # type: ignore[no-untyped-call]
        app, tracer_provider=provider, excluded_urls="health,health/ready,metrics"
    )
    with app.app_context():
        SQLAlchemyInstrumentor().instrument(
            engine=db.engine,
            tracer_provider=provider,
            # The instrumentation declares an older range of SQLAlchemy versions. A test checks that it works with
            # the locked one.
            skip_dep_check=True,
        )
    # Spans are created by the engine's events, which the executor bypasses.
    components_of(app).executor.is_enabled = False
    app.extensions["gatepost.tracer_provider"] = provider
