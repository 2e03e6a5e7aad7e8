"""Generates the dashboard files: `make dashboards`."""

import sys

from grafana.source.files import FOLDER, files

for file, text in files().items():
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{file.relative_to(FOLDER)} written\n")
