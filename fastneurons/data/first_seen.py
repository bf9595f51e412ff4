"""Remember which texts were seen before, of any number of them, in little memory."""

from array import array


class FirstSeen:
    """Remembers for each text the number of the first line or example that had it.

    Open addressing in two flat arrays: 12 bytes an entry at a load of one to two thirds, a quarter of what
    a dictionary takes. Texts are distinguished by 64 bits of hash: the chance that any two of a hundred million
    share one is 1 in 4,000.
    """

    def __init__(self) -> None:
        self._mask = (1 << 12) - 1
        self._hashes = array("Q", bytes(8 * (self._mask + 1)))
        self._numbers = array("I", bytes(4 * (self._mask + 1)))
        self._count = 0

    def of(self, text: str, number: int) -> int:
        """Return the number that had this text before; if none had, remember `number` for it and return 0."""
        hashed = hash(text) & 0xFFFF_FFFF_FFFF_FFFF or 1  # 0 marks a free slot
        hashes, mask = self._hashes, self._mask
        slot = hashed & mask
        while found := hashes[slot]:  # `_slot`, without the call
            if found == hashed:
                return self._numbers[slot]
            slot = (slot + 1) & mask
        hashes[slot] = hashed
        self._numbers[slot] = number if number < 0xFFFF_FFFF else 0xFFFF_FFFF
        self._count += 1
        if 3 * self._count > 2 * self._mask:
            self._grow()
        return 0

    def __contains__(self, text: str) -> bool:
        return bool(self._hashes[self._slot(hash(text) & 0xFFFF_FFFF_FFFF_FFFF or 1)])

    def _slot(self, hashed: int) -> int:
        slot = hashed & self._mask
        hashes, mask = self._hashes, self._mask
        while hashes[slot] and hashes[slot] != hashed:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        hashes, numbers = self._hashes, self._numbers
        self._mask = 2 * self._mask + 1
        self._hashes = array("Q", bytes(8 * (self._mask + 1)))
        self._numbers = array("I", bytes(4 * (self._mask + 1)))
        for hashed, number in zip(hashes, numbers, strict=True):
            if hashed:
                slot = self._slot(hashed)
                self._hashes[slot], self._numbers[slot] = hashed, number
