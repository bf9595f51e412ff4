"""What users are told when an engine fails: the cause, in one line, and where the log is."""

import subprocess
import sys
from pathlib import Path

import pytest

from fastneurons.engine.engine_warnings import matters, of_rounding
from fastneurons.engine.failure import LoadError, cause, cause_in_log, with_log
from fastneurons.errors import EngineError, InputError

WORKER_LOG = """\
(EngineCore pid=7) INFO 11-25 10:00:00 [core.py:100] Initializing a V1 LLM engine
(Worker pid=8) ERROR 11-25 10:00:01 [multiproc_executor.py:870] WorkerProc failed to start.
(Worker pid=8) ERROR 11-25 10:00:01 [multiproc_executor.py:870] Traceback (most recent call last):
(Worker pid=8) ERROR 11-25 10:00:01 [multiproc_executor.py:870]   File "a.py", line 1, in load
(Worker pid=8) ERROR 11-25 10:00:01 [multiproc_executor.py:870]     raise ValueError("x")
(Worker pid=8) ERROR 11-25 10:00:01 [multiproc_executor.py:870] ValueError: There is no module or parameter named 'q'
(EngineCore pid=7) ERROR 11-25 10:00:02 [core.py:1200] Exception: WorkerProc initialization failed due to an \
exception in a background process. See stack trace for root cause.
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}
"""
VAGUE = RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")


def raised(error: BaseException, source: BaseException | None = None) -> BaseException:
    try:
        raise error from source
    except BaseException as caught:
        return caught


def test_the_cause_is_looked_for_in_the_log_where_the_exception_only_points_there(tmp_path):
    log = tmp_path / "engine.log"
    log.write_text(WORKER_LOG)
    assert cause(raised(VAGUE), log) == "ValueError: There is no module or parameter named 'q'"
    error = raised(LoadError(f"org/model: vLLM cannot load it: {cause(VAGUE)}"), raised(VAGUE))
    told = with_log(error, log)
    assert isinstance(told, LoadError)
    assert str(told) == (
        f"org/model: vLLM cannot load it: ValueError: There is no module or parameter named 'q'; vLLM's log: {log}"
    )
    plain = with_log(raised(EngineError("reading activations failed: no such plane")), log)
    assert str(plain) == f"reading activations failed: no such plane; vLLM's log: {log}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "ModuleNotFoundError: No module named 'torchvision'",
            "ModuleNotFoundError: No module named 'torchvision'",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory.", "OutOfMemoryError: CUDA out of memory."),
        ("\x1b[31mKeyError: 'model_type'\x1b[0m", "KeyError: 'model_type'"),
        ("INFO 11-25 10:00:00 [a.py:1] no ValueError: here", None),
        ("RuntimeError: Engine core initialization failed. See root cause above.", None),
    ],
)
def test_the_line_of_a_log_that_tells(line, said, tmp_path):
    log = tmp_path / "engine.log"
    log.write_text(f"some words\n{line}\nmore words\n")
    assert cause_in_log(log) == said


def test_a_log_without_end_is_read_at_its_end_alone(tmp_path):
    log = tmp_path / "engine.log"
    with log.open("wb") as file:
        file.write(b"ValueError: long ago and far away\n")
        file.truncate(1 << 30)
        file.seek(0, 2)
        file.write(b"\nValueError: what happened now\n")
    assert cause_in_log(log) == "ValueError: what happened now"
    assert cause_in_log(tmp_path / "nowhere") is None


def test_a_killed_process_leaves_no_cause(tmp_path):
    log = tmp_path / "engine.log"
    log.write_text("(EngineCore pid=7) INFO 11-25 10:00:00 [core.py:1] begun\n")
    assert "killed" in cause(raised(VAGUE), log)
    dead = type("EngineDeadError", (Exception,), {})
    assert "killed" in cause(raised(dead("EngineCore encountered an issue. See stack trace (above)")), log)


def test_pydantics_noise_is_left_out():
    import pydantic

    @pydantic.dataclasses.dataclass
    class ModelConfig:
        dtype: str

        @pydantic.field_validator("dtype")
        @classmethod
        def check(cls, value: str) -> str:
            raise ValueError("User-specified max_model_len (9) is greater than the derived one.")

    with pytest.raises(pydantic.ValidationError) as failed:
        ModelConfig(dtype="half")
    message = cause(failed.value)
    assert "User-specified max_model_len (9) is greater than the derived one." in message
    assert "pydantic" not in message
    assert "input_value" not in message
    assert "validation error" not in message


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AssertionError(), "AssertionError"),
        (KeyError("model_type"), "KeyError: 'model_type'"),
        (ValueError(0), "0"),
    ],
)
def test_an_exception_that_says_nothing_tells_its_type_and_place(error, said):
    message = cause(raised(error))
    assert said in message
    assert type(error).__name__ in message
    assert "in raised, engine/test_failure.py:" in message


def test_the_innermost_exception_that_says_something_is_the_cause():
    inner = raised(OSError("the disk is gone"))
    assert cause(raised(RuntimeError("Engine core initialization failed"), inner)) == "the disk is gone"


QUIET = """
import sys
from fastneurons.engine.quiet import quiet
from fastneurons.errors import InputError
try:
    with quiet() as hushed:
        print("to the log")
        hushed.terminal.write("for people\\n")
        {what}
finally:
    import os
    open({out!r}, "w").write(f"{{hushed.log}} {{os.path.exists(hushed.log)}}")
"""


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", "<&- >&- 2>&-", "> /dev/full"])
def test_output_is_kept_off_any_terminal(closed, tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(QUIET.format(what="pass", out=str(out)))
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" "{script}" {closed}'], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert out.read_text().split()[1] == "False"
    assert done.stdout == ""
    if closed in ("", ">&-"):
        assert done.stderr == "for people\n"


@pytest.mark.parametrize(
    ("what", "kept"),
    [
        ("raise InputError('a line')", "False"),
        ("hushed.keep = True", "True"),
        ("raise ZeroDivisionError", "True"),
        ("raise KeyboardInterrupt", "False"),
    ],
)
def test_a_log_stays_only_where_it_is_named(what, kept, tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(QUIET.format(what=what, out=str(out)))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    log, there = out.read_text().split()
    assert there == kept
    if kept == "True":
        assert "to the log" in Path(log).read_text()
        Path(log).unlink()
    if "Zero" in what:
        assert f"vLLM's log: {log}" in done.stderr


LONGROPE = (
    "Using LongRoPE scaling factors. This enables longer contexts (256 tokens vs original 64 tokens) at the cost of "
    "some performance degradation for shorter sequences."
)


@pytest.mark.parametrize(
    ("module", "message", "shown"),
    [
        ("vllm.model_executor.layers.rotary_embedding.phi3_long_rope_scaled_rope", LONGROPE, True),
        ("vllm.model_executor.layers.quantization.fp8", "Something that nobody has seen", True),
        ("vllm.config.model", "Casting torch.bfloat16 to torch.float32.", False),
        ("vllm.platforms.cpu", "Something of the machine", False),
        ("transformers.tokenization_utils_base", "an incorrect regex pattern:\n set fix_mistral_regex", True),
    ],
)
def test_warnings_about_the_model_are_shown_unless_they_are_known_to_be_harmless(module, message, shown):
    line = matters(module, message)
    assert (line is not None) == shown
    assert line is None or "\n" not in line


def test_models_that_round_activations_to_codes_are_told_apart():
    def down(method: str, scheme: str | None = None) -> object:
        parts = {"quant_method": type(method, (), {})()}
        if scheme is not None:
            parts["scheme"] = type(scheme, (), {})()
        return type("Linear", (), parts)()

    assert "W8A8" in str(of_rounding(down("CompressedTensorsLinearMethod", "CompressedTensorsW8A8Int8")))
    assert of_rounding(down("Fp8LinearMethod")) is not None
    assert of_rounding(down("UnquantizedLinearMethod")) is None
    assert of_rounding(down("CompressedTensorsLinearMethod", "CompressedTensorsW4A16")) is None


def test_load_errors_are_the_callers():
    assert issubclass(LoadError, InputError)
    assert LoadError("x").exit_status == 2
