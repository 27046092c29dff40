# The daemon, and as `--target example` a pod that scores and collects. Wheels are built in the first stage; the others have only
# what runs.
#   docker build --tag collectord .
#   docker build --tag collectord-example --target example .
ARG BASE_IMAGE=python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
# Debian's own Python has its headers in packages of their own.
RUN apt-get update && \
    apt-get install -y --no-install-recommends gcc g++ $(test -x /usr/local/bin/python3 || echo python3-dev python3-venv) && \
    rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY LICENSE README.md pyproject.toml setup.py ./
COPY proto ./proto
COPY clients ./clients
COPY collectord ./collectord
# The secret is the authority of a proxy between here and the package registry, where there is one.
RUN --mount=type=secret,id=ca,target=/run/secrets/ca.pem,required=false \
    if [ -s /run/secrets/ca.pem ]; then export PIP_CERT=/run/secrets/ca.pem; fi; \
    export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1; \
    for name in collectord client; do python3 -m venv /opt/$name; done && \
    /opt/collectord/bin/pip install '.[otlp]' && \
    /opt/client/bin/pip install numpy './clients/python[grpc]' && \
    for name in collectord client; do \
        /opt/$name/bin/pip uninstall --quiet --yes setuptools wheel pip; \
        # Of their libraries what only their own builds and tests need.
        find /opt/$name -depth \( -name tests -o -name include -o -name '*.pxd' -o -name '*.pyx' -o -name '*.h' -o -name '*.hpp' -o -name '*.a' \) -path '*/site-packages/*' -exec rm -rf {} +; \
        find /opt/$name -name '*.so*' -type f -exec strip --strip-unneeded {} + 2>/dev/null || true; \
    done

FROM ${BASE_IMAGE} AS example
LABEL org.opencontainers.image.title="collectord-example" \
      org.opencontainers.image.description="Scores and collects, so that a cluster's set-up can be tried" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/client /opt/client
COPY deploy/example/score.py /opt/example/score.py
ENV PATH=/opt/client/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10002:10002
ENTRYPOINT ["python3", "/opt/example/score.py"]

FROM ${BASE_IMAGE}
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="collectord" \
      org.opencontainers.image.description="Collects what machine-learning models see and say in production" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 collectord && \
    useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin collectord && \
    install -d -o 10001 -g 10001 /run/collectord /var/lib/collectord
COPY --from=build /opt/collectord /opt/collectord
ENV PATH=/opt/collectord/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    COLLECTORD_SPOOL=/var/lib/collectord/spool \
    COLLECTORD_STORE=/var/lib/collectord/store \
    COLLECTORD_LISTEN=unix:/run/collectord/collectord.sock
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["collectord"]
CMD ["serve"]
