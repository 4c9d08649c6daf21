# Two images from one lock: `orchestrator` (amends migrate, amends serve) and `participant` (the trip
# example's services), which holds neither the orchestrator nor what only that one needs.

FROM python:3.13-slim AS build
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_CACHE=1
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
COPY requirements.lock .
# Everything that is installed below is held to the lock's versions and hashes.
RUN uv pip install --system --constraint requirements.lock hatchling
COPY LICENSE .
COPY amqp amqp
COPY contracts contracts
COPY migrations migrations
COPY orchestrator orchestrator
COPY participants participants
RUN for member in amqp contracts migrations orchestrator participants; do \
        (cd "$member" && python -m hatchling build -t wheel -d /wheels) || exit 1; \
    done

FROM build AS orchestrator-env
RUN python -m venv --without-pip /app \
    && uv pip install --python /app/bin/python --constraint requirements.lock \
        /wheels/amends_amqp-*.whl /wheels/amends_contracts-*.whl /wheels/amends_migrations-*.whl \
        /wheels/amends_orchestrator-*.whl

FROM build AS participant-env
RUN python -m venv --without-pip /app \
    && uv pip install --python /app/bin/python --constraint requirements.lock \
        /wheels/amends_amqp-*.whl /wheels/amends_contracts-*.whl \
        "$(echo /wheels/amends_participants-*.whl)[faststream,otel]"

FROM python:3.13-slim AS base
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin amends
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER amends

FROM base AS participant
COPY --from=participant-env /app /app
COPY examples /app/examples
ENV PYTHONPATH=/app/examples
CMD ["amends-participant", "--help"]

FROM base AS orchestrator
COPY --from=orchestrator-env /app /app
EXPOSE 8400
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8400/readyz', timeout=2)"]
CMD ["amends", "serve"]
