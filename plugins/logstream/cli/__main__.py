"""`python -m logstream.cli`, where the command itself is not on the path."""

import logging
import sys

from logstream.cli import main

logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
raise SystemExit(main())
