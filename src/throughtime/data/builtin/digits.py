"""`digits`: images of handwritten digits, read row by row."""

from __future__ import annotations

import numpy as np

from throughtime.data.records import Records

CLASSES = tuple("0123456789")
SPLIT_SEED = 0


def digits() -> dict[str, Records]:
    """The 1,797 images of 8 × 8 pixels that scikit-learn ships (Alpaydin and Kaynak, 1998), to be classified.

    A sequence is an image: T = 8 rows of n = 8 pixels from 0 to 1; the classes are the digits. The images are shuffled
    once, always alike: 1,297 to train, 250 valid, 250 test.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError(
            "digits: expected scikit-learn, which it comes with: pip install 'throughtime[sklearn]'"
        ) from None
    pixels, digit = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 8, 8) / 16
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    return {
        part: Records(
            source="digits",
            task="classify",
            inputs=list(images[rows]),
            targets=[CLASSES[label] for label in digit[rows]],
            names=[f"image {row}" for row in rows],
            places=[f"digits: image {row}" for row in rows],
            features=tuple(f"column {column}" for column in range(8)),
            outputs=CLASSES,
            scaled=True,
        )
        for part, rows in zip(("train", "valid", "test"), np.split(order, [-500, -250]))
    }
