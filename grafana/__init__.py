"""Grafana: dashboards, their source, and what provisions them."""
