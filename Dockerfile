# One relay replica: the relay (`system/`) and what it imports, nothing of the machine that tries to break it.
FROM python:3.11.14-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/relay
COPY deploy/relay/requirements.lock /build/
# Wheels only: a package that would have to be compiled fails here, and not in a machine without a compiler.
RUN /opt/relay/bin/pip install --only-binary=:all: --no-deps --require-hashes --requirement /build/requirements.lock
COPY meshrelay.py /app/
COPY system /app/system
# The file system is read-only when it runs, so what Python compiles is made here.
RUN /opt/relay/bin/python -m compileall -q /app

FROM python:3.11.14-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin relay
COPY --from=build /opt/relay /opt/relay
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/opt/relay/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    MESHRELAY_HTTP_HOST=0.0.0.0 MESHRELAY_HTTP_PORT=8080
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# Ready, not merely alive: `docker compose up --wait` then waits for a relay that serves. Docker restarts nothing by it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --start-interval=1s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
ENTRYPOINT ["python", "-m", "meshrelay"]
CMD ["serve"]
