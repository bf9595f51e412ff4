"""`info`: show what this machine has, what a run would use, and what is missing."""

from dataclasses import asdict

from fastneurons.cli.engine_options import AsJson, Verbose
from fastneurons.visible import visible_json


def info(as_json: AsJson = False, verbose: Verbose = False) -> None:
    """Show versions and devices, and what is missing.

    Shows platform, engine backend, devices, cores and threads, and how to install what is missing.
    """
    from fastneurons.engine.quiet import quiet
    from fastneurons.machine import this_machine

    with quiet(verbose):
        found = this_machine()
    if as_json:
        print(visible_json(asdict(found)))
        return
    rows: list[tuple[str, str]] = [
        ("fastneurons", found.fastneurons),
        ("python", found.python),
        ("platform", found.platform),
        ("memory", f"{found.memory_gib:.1f} GiB" if found.memory_gib else "unknown"),
        ("engine", found.engine or "none"),
        ("backend", found.backend or "none"),
        ("devices", ", ".join(found.devices) or "no GPU; runs use the CPU"),
        ("cores", f"{len(found.cores)} physical ({_ranges(found.cores)})"),
        ("threads", found.threads),
    ]
    if found.bfloat16 is not None:
        rows.append(("bfloat16", "in hardware" if found.bfloat16 else "emulated; --dtype auto uses float32"))
    rows += [(name, version or "not installed") for name, version in found.packages.items()]
    for name, text in rows:
        print(f"{name:<13}{text}")
    for line in found.missing:
        print(f"missing      {line}")


def _ranges(numbers: list[int]) -> str:
    """`0-3,8` for 0, 1, 2, 3, 8."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
