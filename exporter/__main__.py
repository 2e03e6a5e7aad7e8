"""`python -m exporter` is the command line."""

import sys

from exporter.cli import main

sys.exit(main())
