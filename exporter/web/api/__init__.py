"""The JSON API: its documents, their content, and the OpenAPI document that describes them."""
