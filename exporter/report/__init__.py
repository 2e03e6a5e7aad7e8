"""The report for auditors: what the daily record says about each database and day. Pure, except for the templates."""
