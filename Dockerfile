# syntax=docker/dockerfile:1
# The daemon. Wheels are built in the first stage; the last one has only what runs.
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY proto ./proto
COPY collectord ./collectord
RUN --mount=type=secret,id=ca,target=/run/secrets/ca.pem,required=false \
    if [ -s /run/secrets/ca.pem ]; then export PIP_CERT=/run/secrets/ca.pem; fi; \
    python -m venv /opt/collectord && /opt/collectord/bin/pip install --no-cache-dir '.[otlp]' && \
    /opt/collectord/bin/pip uninstall -y setuptools wheel pip

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="collectord" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 collectord && useradd --system --uid 10001 --gid 10001 --no-create-home collectord && \
    install -d -o 10001 -g 10001 /run/collectord /var/lib/collectord
COPY --from=build /opt/collectord /opt/collectord
ENV PATH=/opt/collectord/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    COLLECTORD_SPOOL=/var/lib/collectord/spool \
    COLLECTORD_STORE=/var/lib/collectord/store \
    COLLECTORD_LISTEN=unix:/run/collectord/collectord.sock
USER 10001:10001
ENTRYPOINT ["collectord"]
CMD ["serve"]
