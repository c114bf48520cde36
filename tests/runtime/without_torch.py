"""Program for an environment that has the runtime and no PyTorch: MODEL IMAGES SCORES, all three files."""

import importlib.util
import sys
import time


def main(model, images, scores):
    start = time.process_time()
    import tieless_runtime

    seconds = time.process_time() - start
    import numpy as np

    assert importlib.util.find_spec("torch") is None
    assert "numba" not in sys.modules
    found = tieless_runtime.Model.load(model, threads=2)(np.load(images))
    expected = np.load(scores)
    assert found.dtype == expected.dtype
    assert np.abs(found - expected).max() < 1e-5
    assert (found.argmax(1) == expected.argmax(1)).all()
    print(f"imported in {seconds:.3f} s of the processor, {len(found)} labels equal")


if __name__ == "__main__":
    main(*sys.argv[1:])
