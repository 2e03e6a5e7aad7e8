"""View models of the pages for people: what a page shows, without HTML and HTTP. Pure."""
