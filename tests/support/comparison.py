"""Comparison of nested values, as JSON and YAML files contain them."""


def missing_paths(before: object, after: object, at: str = "") -> list[str]:
    """Return the paths of the values in `before` that are missing or different in `after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [path for key in before for path in missing_paths(before[key], after.get(key), f"{at}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            path
            for i, (a, b) in enumerate(zip(before, after, strict=True))
            for path in missing_paths(a, b, f"{at}[{i}]")
        ]
    return [] if before == after else [at]
