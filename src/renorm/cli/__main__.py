"""``python -m renorm.cli``, where the command itself is not on the path."""

import sys

from renorm.cli import main

sys.exit(main())
