"""Source code of the dashboards. `make dashboards` generates the JSON files that Grafana loads."""
