"""Run a job over many engines: processes of this machine, or actors of a Ray cluster.

`driver.py` hands out windows and commits them; `messages.py` has what it and engines say to each other, and the
interface that `local.py` and `ray_engines.py` implement; `serve.py` is the engine's side; `measure.py` is the command.
"""
