"""Program for an environment that has the runtime and no PyTorch: FOLDER of NAME.safetensors, NAME.images.npy, NAME.scores.npy."""

import importlib.util
import platform
import sys
import time
from pathlib import Path


def main(folder):
    start = time.process_time()
    import tieless_runtime

    seconds = time.process_time() - start
    import numpy as np

    assert importlib.util.find_spec("torch") is None
    assert "numba" not in sys.modules
    labels, paths = 0, sorted(Path(folder).glob("*.safetensors"))
    for path in paths:
        model = tieless_runtime.Model.load(path, threads=2)
        found = model(np.load(path.with_suffix(".images.npy")))
        expected = np.load(path.with_suffix(".scores.npy"))
        assert found.dtype == expected.dtype
        assert np.abs(found - expected).max() < 1e-5
        assert (found.argmax(1) == expected.argmax(1)).all()
        labels += found.argmax(1).size
    print(
        f"imported in {seconds:.3f} s of the processor, {labels} labels equal; "
        f"{len(paths)} networks, {platform.machine()}, kernels {model.path}"
    )


if __name__ == "__main__":
    main(sys.argv[1])
