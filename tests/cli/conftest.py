"""Commands in the process of the tests set up logging: it is restored."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Restore the handlers and levels of all loggers."""
    root = logging.getLogger()
    loggers = [root, *(found for found in root.manager.loggerDict.values() if isinstance(found, logging.Logger))]
    levels, handlers = [logger.level for logger in loggers], list(root.handlers)
    yield
    logging.captureWarnings(False)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    root.handlers[:] = handlers
