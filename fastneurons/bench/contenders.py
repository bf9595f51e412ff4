"""All contenders by name, in the order of the table."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from fastneurons.bench.contender import Contender, Setting
from fastneurons.config import Measurement
from fastneurons.errors import InputError

_SIX = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the published study


@dataclass(frozen=True)
class Entry:
    """Recipe for making a contender.

    Args:
        about: One line for people.
        target: `module:class`, imported in the contender's own process alone.
        arguments: Further arguments of the class, after the setting.
        base: The contender to compare it with if it has no reference of its own.
    """

    about: str
    target: str
    arguments: dict[str, Any]
    base: str = "unpatched"

    def made(self, setting: Setting) -> Contender:
        """Load it."""
        found: Contender = self._class()(setting, **self.arguments)
        return found

    def missing(self) -> str | None:
        """Name the package to install; None if nothing is missing."""
        missing: str | None = self._class().missing()
        return missing

    def _class(self) -> Any:
        module, _, name = self.target.partition(":")
        return getattr(import_module(f"fastneurons.bench.{module}"), name)


_MODES = {
    "last": ("the last token of each prompt", Measurement()),
    "last-6": ("six thresholds", Measurement(_SIX)),
    "any": ("any token", Measurement(position="any")),
    "any-6": ("any token, six thresholds", Measurement(_SIX, "any")),
    "corpus": ("every token, counted", Measurement(position="corpus")),
    "corpus+histogram": (
        "every token, in histograms of 64 bins",
        Measurement(position="corpus", histogram=64),
    ),
    "attribution": ("the last token, with attribution", Measurement(attribution=True)),
}


def _all() -> dict[str, Entry]:
    entries = {
        "unpatched": Entry("vLLM alone", "engine:Unpatched", {}),
        "idle": Entry("patched, nothing read", "engine:Idle", {}),
        "last:whole": Entry(
            "the last token, skipping no work",
            "engine:Measured",
            {"measurement": Measurement(), "only_reads": False},
        ),
    }
    for name, (line, measurement) in _MODES.items():
        entries[name] = Entry(line, "engine:Measured", {"measurement": measurement})
    for name in ("last", "any", "attribution"):
        line, measurement = _MODES[name]
        entries[f"{name}+store"] = Entry(
            f"{line}, into a store", "engine:Measured", {"measurement": measurement, "store": True}
        )
    compiled: dict[str, Any] = {"compiled": True}
    entries["unpatched:compiled"] = Entry("vLLM alone, compiled", "engine:Unpatched", compiled)
    entries["idle:compiled"] = Entry("patched, nothing read", "engine:Idle", compiled, "unpatched:compiled")
    for name in ("last", "any", "corpus", "attribution"):
        line, measurement = _MODES[name]
        entries[f"{name}:compiled"] = Entry(
            f"{line}, compiled",
            "engine:Measured",
            {"measurement": measurement, **compiled},
            "unpatched:compiled",
        )
    return entries | {
        "lape": Entry("LAPE's method on vLLM", "lape:Lape", {}),
        "notebook": Entry("the published method, a prompt at a time", "notebook:Notebook", {}),
        "notebook+attribution": Entry("the same with attribution", "notebook:NotebookAttribution", {}),
        "hooks": Entry("the published method, sorting vectorised", "hooks:Hooks", {}),
        "hooks+attribution": Entry("the same with attribution", "hooks:HooksAttribution", {}),
        "nnsight": Entry("nnsight", "libraries:NNsight", {}),
        "transformer-lens": Entry("TransformerLens", "libraries:TransformerLens", {}),
    }


CONTENDERS = _all()
# Eager, as a CPU runs; compiled ones are asked for by name.
DEFAULT = tuple(name for name in CONTENDERS if not name.endswith((":compiled", "-6")))


def parse_contenders(text: str | None) -> tuple[str, ...]:
    """Names separated by commas; the default ones for None.

    Raises:
        InputError: a name is not that of a contender.
    """
    if text is None:
        return DEFAULT
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in CONTENDERS]
    if unknown or not names:
        raise InputError(f"--contenders {text}: must be some of {', '.join(CONTENDERS)}")
    return names
