"""Draw a table bank x shift as `renorm report --png` does, for tables that came without their run.

renorm demo
python experiments/picture.py runs/demo/run/results.csv docs/images/demo.png
"""

import sys
from pathlib import Path

from renorm.evaluate import read_results
from renorm.report import accuracy_grid, figures, heat, heat_map

if __name__ == "__main__":
    results, out = read_results(Path(sys.argv[1])), Path(sys.argv[2])
    table = heat.of_accuracies(accuracy_grid(results))
    figures.save({out.stem: heat_map.heat_map(table)}, out.parent, results.protocol.command)
