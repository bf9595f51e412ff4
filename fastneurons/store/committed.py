"""Read back the examples that a store holds, so that a run that goes on can check that it reads the same."""

from collections.abc import Iterator
from typing import NamedTuple

from fastneurons.store import schema
from fastneurons.store.reader import Store

# Committed examples are read so many at a time, or a window where that is more.
_EXAMPLES_AT_ONCE = 4096


class CommittedExample(NamedTuple):
    """An example that a store holds.

    Args:
        id: Its id.
        digest: Of its texts or tokens; None in stores written before there were digests.
        tokens: Its tokens in all languages.
    """

    id: str
    digest: int | None
    tokens: int


def committed_examples(store: Store) -> Iterator[CommittedExample]:
    """The examples that a store holds, in order, a few windows at a time.

    Raises:
        StoreError: an array is damaged.
    """
    committed = store.num_examples
    names = [schema.EXAMPLE_ID, "token_count"]
    names += [schema.DIGEST] if schema.DIGEST in store else []
    window = store.header.window
    step = -(-_EXAMPLES_AT_ONCE // window) * window
    for first in range(0, committed, step):
        examples = slice(first, min(first + step, committed))
        block = {name: store[name][examples] for name in names}
        tokens = block["token_count"].sum(axis=1)
        digests = block.get(schema.DIGEST)
        for index, name in enumerate(block[schema.EXAMPLE_ID]):
            digest = None if digests is None else int(digests[index])
            yield CommittedExample(str(name), digest, int(tokens[index]))
