# syntax=docker/dockerfile:1
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY exporter exporter
RUN python -m venv /opt/exporter \
 && /opt/exporter/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt .

FROM python:3.11-slim-bookworm
ARG REVISION=""
ENV CLOUDSQL_BACKUP_EXPORTER_REVISION=$REVISION PYTHONUNBUFFERED=1 PATH=/opt/exporter/bin:$PATH
COPY --from=build /opt/exporter /opt/exporter
RUN useradd --system --uid 10853 --home-dir /var/lib/exporter --create-home exporter
USER 10853:10853
WORKDIR /var/lib/exporter
EXPOSE 10853
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:10853/-/healthy')"]
ENTRYPOINT ["cloudsql-backup-exporter"]
CMD ["serve", "--config.file=/etc/cloudsql-backup-exporter/config.yaml"]
