"""Fashion-MNIST: the same small CNN, supervised contrast; k-NN on the vectors names the garment.

    VULTUS_DATA=/path/to/pictures python examples/fashion_mnist.py --out fashion
    python examples/fashion_mnist.py --data fashion_mnist.npz.xz --steps 6000

It is `mnist_triplets.py` with the recipe `fashion`; the options are the same.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    script = Path(__file__).with_name("mnist_triplets.py")
    sys.argv = [str(script), "--recipe", "fashion", *sys.argv[1:]]
    runpy.run_path(str(script), run_name="__main__")
