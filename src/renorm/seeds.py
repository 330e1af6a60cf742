"""Seeds of all that is random, each by what it is for."""

import hashlib


def stable_seed(*key: int | str) -> int:
    """Hash a key to a seed of 63 bits, the same in every process and on every machine.

    Example:
        >>> stable_seed(0, "weak", 17)
        905360648257296563
    """
    text = "|".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
