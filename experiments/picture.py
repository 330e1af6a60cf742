"""Draw a table bank x shift as `renorm report --png` does, for tables that came without their run.

renorm demo && renorm evaluate runs/demo/run --adapt 32
python experiments/picture.py runs/demo/run/results.csv docs/images/demo.png
"""

import sys
from pathlib import Path

from renorm.evaluate import read_results
from renorm.report import pictures
from renorm.report.grid import accuracies, grid

if __name__ == "__main__":
    results, out = read_results(Path(sys.argv[1])), Path(sys.argv[2])
    columns = {bank: accuracies(results, bank) for bank in results.banks}
    pictures.save({out.stem: pictures.heat_map(grid(columns, results.shifts))}, out.parent, results.protocol.command)
