"""Grafana dashboards, their source code and provisioning files."""
