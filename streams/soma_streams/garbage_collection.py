"""How often the garbage collector looks for cycles among what a batch is made of, which has none."""

import gc

# Young objects before the collector looks at them, and how many such looks before it looks at older ones. By
# default it looks every 700 objects, and found nothing for a fifth of a worker's time.
_THRESHOLDS = (100_000, 20, 50)


def collect_rarely() -> None:
    """Have this process collect cycles rarely, and never among what it has loaded by now.

    Whoever leaves cycles behind still has them collected, some megabytes later.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
