"""A specification of what workers observe."""

import hashlib

import msgspec


class ObservationSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A specification of what to observe; crosses to the workers as vLLM's `additional_config`.

    Of that, vLLM asks for `compute_hash`, which becomes part of the key of its compiled graphs.
    """

    patch: int = -1  # set by the engine, as is the next
    engine: int = -1  # which patched engine of this process
    most_slots: int  # examples in flight that a session has a use for
    languages: int
    thresholds: tuple[float, ...] = (0.0,)
    position: str = "last"
    signal: str = "gate"
    attribution: bool = False
    memory_bytes: int = 2**30
    edits: int = 0  # slots of the workers' bank of edits
    edit_values: int = 0  # rows of values that these may add
    judged_places: int = 0  # judged tokens in flight whose log-probabilities the workers hold
    finds_likeliest: bool = False  # whether they hold, too, which of these tokens greedy decoding would take
    bins: int | None = None  # of a corpus's histograms; None: there are none
    # Whether the engine only reads, so that work that no reading depends on may be skipped.
    only_reads: bool = False

    @property
    def is_corpus(self) -> bool:
        """Whether tokens are counted, instead of keeping prompts apart."""
        return self.position == "corpus"

    def compute_hash(self) -> str:
        """Return a hash of what compiled code depends on: the ops, and the engine's number, which graphs hold.

        Nothing else: thresholds, languages, the number of edits and sizes of buffers are behind the ops, and no graph
        on disk holds an address. With them in the key, each other run would compile anew.
        """
        edits = " with edits" if self.edits else ""
        return hashlib.sha256(f"fastneurons {self.patch} {self.engine}{edits}".encode()).hexdigest()
