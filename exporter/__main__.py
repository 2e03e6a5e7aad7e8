"""`python -m exporter` is the command line."""

import sys

from exporter.cli.main import main

sys.exit(main())
