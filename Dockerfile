# The application's image. docker-compose.yml runs it as `app` and, to migrate the database, as `migrate`.
# It uses only instructions that the classic builder supports too.

FROM python:3.13-slim AS packages
# requirements-otel.txt adds the packages for traces.
ARG REQUIREMENTS=requirements.txt
# No pip in the virtual environment: nothing is to be installed where the application runs.
RUN python -m venv --without-pip /opt/venv
COPY $REQUIREMENTS /tmp/requirements.txt
# Wheels only: no package runs code of its own here, and no compiler is needed.
RUN pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
        --require-hashes --only-binary :all: -r /tmp/requirements.txt

FROM python:3.13-slim AS code
WORKDIR /srv/gatepost
COPY run.py gunicorn.conf.py ./
COPY migrations migrations
COPY app app
COPY gatepost gatepost
# The file system is read-only later, so Python could not store the compiled modules and would repeat it at every start.
RUN python -m compileall -q --invalidation-mode unchecked-hash . && chmod -R go+rX,go-w .

FROM python:3.13-slim
# A fixed number that no distribution assigns: for the owner of mounted files, and for Kubernetes' runAsNonRoot.
RUN useradd --no-log-init --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin gatepost
COPY --from=packages /opt/venv /opt/venv
COPY --from=code /srv/gatepost /srv/gatepost
WORKDIR /srv/gatepost
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    APP_ENV=production \
    BIND=0.0.0.0:8000 \
    FLASK_APP=run
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Checks that the process responds, and not its database, because a restart would not repair a database. The probe waits
# in the same queue as all requests, so the timeout is far above MAX_QUEUE_MS: overload must not look like a failure.
HEALTHCHECK --interval=5s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=9); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
# Becomes gunicorn, or granian with SERVER=granian.
CMD ["python", "run.py"]
# At the end, because the revision changes with each commit and would invalidate the cache of the steps above.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Gatepost" \
      org.opencontainers.image.description="A back end to start with and keep: accounts, sessions, tokens and posts over HTTP." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
