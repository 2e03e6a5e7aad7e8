# syntax=docker/dockerfile:1
# The container image; docs/installation/container.md describes it.
#
# Debian's Python is the one that the tests run with. Both stages have it at the same path, so that the virtual
# environment of the first one works in the second one, which has neither pip nor a compiler.

FROM debian:bookworm-20260824-slim AS build
# hadolint ignore=DL3008 # Debian's archive has only the newest version of a package, with security updates
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3-pip python3-venv
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY exporter exporter
# Google's library contains the descriptions of all its APIs, 100 MB of them. The exporter uses these only.
RUN python3 -m venv --without-pip /opt/exporter \
 && python3 -m pip --python=/opt/exporter install --no-cache-dir --disable-pip-version-check \
      --constraint=constraints.txt . \
 && find /opt/exporter/lib/python3*/site-packages/googleapiclient/discovery_cache/documents -name '*.json' \
      ! -name 'backupdr.*' ! -name 'cloudasset.*' ! -name 'cloudresourcemanager.*' ! -name 'sqladmin.*' -delete

FROM debian:bookworm-20260824-slim
# hadolint ignore=DL3008 # as above
RUN apt-get update \
 && apt-get upgrade --yes \
 && apt-get install --yes --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid=10853 exporter \
 && useradd --no-log-init --uid=10853 --gid=10853 --home-dir=/var/lib/exporter --shell=/usr/sbin/nologin exporter \
 && install --directory --owner=10853 --group=10853 --mode=0750 /var/lib/exporter
COPY --from=build /opt/exporter /opt/exporter
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="cloudsql-backup-exporter" \
      org.opencontainers.image.description="Prometheus exporter for the health of Google Cloud SQL backups" \
      org.opencontainers.image.url="https://github.com/cloudsql-backup-exporter/cloudsql-backup-exporter" \
      org.opencontainers.image.source="https://github.com/cloudsql-backup-exporter/cloudsql-backup-exporter" \
      org.opencontainers.image.documentation="https://github.com/cloudsql-backup-exporter/cloudsql-backup-exporter#readme" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-20260824-slim"
ENV CLOUDSQL_BACKUP_EXPORTER_REVISION=$REVISION \
    HOME=/var/lib/exporter \
    PATH=/opt/exporter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10853:10853
WORKDIR /var/lib/exporter
EXPOSE 10853
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["cloudsql-backup-exporter", "healthcheck"]
ENTRYPOINT ["cloudsql-backup-exporter"]
CMD ["serve", "--config.file=/etc/cloudsql-backup-exporter/config.yaml"]
