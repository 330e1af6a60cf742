"""``python -m renorm``, where the command itself is not on the path, and for ``torchrun -m renorm``."""

import sys

from renorm.cli import main

sys.exit(main())
