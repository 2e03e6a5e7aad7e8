"""The dashboards as code. `make dashboards` writes what Grafana takes from it."""
