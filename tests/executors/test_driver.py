"""The driver against stand-ins for engines, in threads: order, sums, slow engines, stopping, and what is refused."""

import re
import threading
from collections.abc import Iterator

import msgspec
import pytest

from fastneurons.config import ManyEngines
from fastneurons.data.example import Example, Skipped
from fastneurons.errors import EngineError, InputError, StoreError
from fastneurons.executors.messages import Failed
from fastneurons.store import Store, open_store
from fastneurons.store.root import Writer, decode
from tests.executors.stand_in import Fault, StandInJob, examples
from tests.executors.threads import ThreadEngines
from tests.executors.writing import EXAMPLES, Told, assert_same, write


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> Store:
    """The store of one engine."""
    store, _ = write(ThreadEngines(StandInJob(), 1), tmp_path_factory.mktemp("one") / "run.zarr")
    return store


def test_many_engines_write_the_store_of_one(expected, tmp_path):
    store, told = write(ThreadEngines(StandInJob(), 5), tmp_path / "run.zarr")
    assert_same(store, expected)
    assert told.examples == len(EXAMPLES)
    assert list(store["example_id"][...]) == [example.id for example in EXAMPLES]
    # Each neuron is in one category for each example that is not skipped.
    assert (store["occupancy"][...].sum(-1) == store["present"][:, 0].sum()).all()


def test_a_slow_engine_holds_nobody_up_and_is_named(expected, tmp_path):
    job = StandInJob(example_s=0.005, slow=(40, tmp_path / "slow"))
    store, told = write(ThreadEngines(job, 3), tmp_path / "run.zarr")
    assert_same(store, expected)
    counts = sorted(int(part.rpartition(" ")[2]) for part in told.messages[-1].split(","))
    assert sum(counts) == len(EXAMPLES)
    assert counts[0] <= 12 < counts[1]


def test_a_window_that_waits_for_a_slow_engine_goes_to_an_idle_one(tmp_path):
    job = StandInJob(example_s=0.005, slow=(60, tmp_path / "slow"))
    _, told = write(ThreadEngines(job, 2), tmp_path / "run.zarr", examples(16))
    counts = sorted(int(part.rpartition(" ")[2]) for part in told.messages[-1].split(","))
    assert counts == [4, 12]


def test_an_engine_that_is_slow_for_several_windows_is_named(tmp_path):
    stop = threading.Event()

    class Stopping(Told):
        def message(self, text: str) -> None:
            super().message(text)
            if "is slow" in text:
                stop.set()

    job = StandInJob(example_s=0.001, slow=(100, tmp_path / "slow"))
    _, told = write(
        ThreadEngines(job, 2), tmp_path / "run.zarr", examples(100_000), told=Stopping(), stop=stop
    )
    [message] = told.saying("is slow")
    assert re.fullmatch(
        r"engine [01] \(process \d+ on .*\) is slow: [\d.]+ prompts/s, others [\d.]+", message
    )


@pytest.mark.parametrize("number", [1, 3])
def test_a_stopped_run_keeps_whole_windows_and_goes_on(number, expected, tmp_path):
    stop, told = threading.Event(), Told()

    class Stopping(Told):
        def advance(self, examples: int, prompts: int, tokens: int) -> None:
            super().advance(examples, prompts, tokens)
            if self.examples >= 20:
                stop.set()

    out = tmp_path / "run.zarr"
    store, told = write(ThreadEngines(StandInJob(example_s=0.005), number), out, told=Stopping(), stop=stop)
    assert not store.is_complete
    # What was shown as measured is safe: nothing of it has to be measured again.
    assert 20 <= store.num_examples == told.examples < len(EXAMPLES)
    safe = store.num_examples
    assert told.messages[-1] == f"stopped; {safe} examples are safe; continue with --resume"
    store, told = write(ThreadEngines(StandInJob(), 4), out, resume=True)
    assert_same(store, expected)
    assert told.examples == len(EXAMPLES) - safe


def test_a_run_goes_on_within_a_window(expected, tmp_path):
    # A limit that has grown: the last window of the first run is not full, and shares objects with the next.
    out = tmp_path / "run.zarr"
    write(ThreadEngines(StandInJob(), 2), out, limit=18)
    store, told = write(ThreadEngines(StandInJob(), 3), out, resume=True)
    assert told.saying("continuing after 18 examples: there are more by now")
    assert_same(store, expected)


def test_a_complete_store_has_nothing_to_do(tmp_path):
    out = tmp_path / "run.zarr"
    write(ThreadEngines(StandInJob(), 2), out)
    _, told = write(ThreadEngines(StandInJob(), 2), out, resume=True)
    assert told.messages[-1] == "the store is complete already; nothing to do"


def test_other_data_is_refused_when_resuming(tmp_path):
    out = tmp_path / "run.zarr"
    write(ThreadEngines(StandInJob(), 2), out, limit=20)
    with pytest.raises(StoreError, match="example 1 of the store"):
        write(ThreadEngines(StandInJob(), 2), out, [EXAMPLES[0], *examples(40, first=5)], resume=True)


def test_rows_before_a_broken_one_are_kept(expected, tmp_path):
    def broken() -> Iterator[Example | Skipped]:
        yield from EXAMPLES[:22]
        raise InputError("data.jsonl:23: no JSON")

    out = tmp_path / "run.zarr"
    with pytest.raises(InputError, match="jsonl:23"):
        write(ThreadEngines(StandInJob(), 3), out, broken())
    assert open_store(str(out)).num_examples == 22
    store, _ = write(ThreadEngines(StandInJob(), 2), out, resume=True)
    assert_same(store, expected)


def test_an_engine_that_fails_is_started_again(expected, tmp_path):
    job = StandInJob(fault=Fault("fail", "before", 12, tmp_path / "mark"))
    engines = ThreadEngines(job, 2)
    store, told = write(engines, tmp_path / "run.zarr")
    assert_same(store, expected)
    [message] = told.saying("starting it again")
    assert message.endswith("the engine failed: a stand-in was told to; starting it again (1 of 3)")
    assert len(engines.started) == 3
    assert told.examples == len(EXAMPLES)


def test_a_window_that_makes_engines_fail_ends_the_run(tmp_path):
    job = StandInJob(fault=Fault("fail", "before", 12, tmp_path / "mark", most=100))
    out = tmp_path / "run.zarr"
    with pytest.raises(EngineError, match="3 engines in turn have failed on the examples from 12 on"):
        write(ThreadEngines(job, 2), out)
    assert open_store(str(out)).num_examples == 12


def test_a_model_that_cannot_be_loaded_ends_the_run_before_it_begins(tmp_path):
    job = StandInJob(refusal=InputError("no such model"))
    with pytest.raises(InputError, match="no such model"):
        write(ThreadEngines(job, 2), tmp_path / "run.zarr")
    assert not (tmp_path / "run.zarr").exists()


def test_an_engine_that_keeps_failing_is_given_up_and_the_others_go_on(expected, tmp_path):
    class OneFails(ThreadEngines):
        def start(self, slot: int) -> None:
            if slot == 1:
                self.started.append(slot)
                self.put(slot, Failed("death", "was ended by SIGKILL"))
            else:
                super().start(slot)

    engines = OneFails(StandInJob(example_s=0.06), 2)
    store, told = write(engines, tmp_path / "run.zarr")
    assert_same(store, expected)
    assert engines.started == [0, 1, 1, 1, 1]
    assert told.saying("engine 1")[-1] == (
        "engine 1: was ended by SIGKILL; it was started 3 times again, and the run goes on with 1 engine"
    )


def test_engines_that_never_get_ready_end_the_run(tmp_path):
    engines = ThreadEngines(StandInJob(refusal=EngineError("no memory")), 2)
    with pytest.raises(EngineError, match="no memory; no engine is left"):
        write(engines, tmp_path / "run.zarr")
    assert len(engines.started) == 8


def test_a_store_that_another_run_has_taken_over_is_written_no_more(tmp_path):
    out = tmp_path / "run.zarr"

    class Taking(Told):
        def advance(self, examples: int, prompts: int, tokens: int) -> None:
            super().advance(examples, prompts, tokens)
            if self.examples >= 20:
                root = (out / "zarr.json").read_bytes()
                decoded = decode(root, str(out))
                writer = Writer("0" * 32, "elsewhere", 1, "2025-01-01")
                taken = msgspec.structs.replace(
                    decoded, commit=msgspec.structs.replace(decoded.commit, writer=writer)
                )
                # As a writer does: nobody reads half of it.
                (tmp_path / "taken.json").write_bytes(taken.encode())
                (tmp_path / "taken.json").replace(out / "zarr.json")

    with pytest.raises(StoreError, match="was taken over by another run"):
        write(ThreadEngines(StandInJob(example_s=0.01), 2), out, told=Taking())


@pytest.mark.parametrize(
    ("value", "number", "expected"),
    [
        ("4", None, ManyEngines("local", 4)),
        ("ray", None, ManyEngines("ray")),
        ("ray", 8, ManyEngines("ray", 8)),
        ("ray:10.0.0.1:6379", 2, ManyEngines("ray", 2, "10.0.0.1:6379")),
        ("ray:auto", None, ManyEngines("ray", None, "auto")),
    ],
)
def test_engines_are_understood(value, number, expected):
    assert ManyEngines.parse(value, number) == expected


@pytest.mark.parametrize(
    ("value", "number", "message"),
    [
        ("0", None, "--engines 0: must be from 1 to 4,096"),
        ("-1", None, "--engines -1: must be a number of engines, ray, or ray:ADDRESS"),
        ("rays", None, "--engines rays: must be a number"),
        ("ray:", None, "--engines ray:: must be a number"),
        ("two", None, "--engines two: must be"),
        ("4", 2, "--num-engines 2 goes with --engines ray"),
        ("ray", 0, "--num-engines 0: must be from 1"),
    ],
)
def test_other_values_are_refused(value, number, message):
    with pytest.raises(InputError, match=message):
        ManyEngines.parse(value, number)
