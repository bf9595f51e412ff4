"""Find out within seconds whether the Hugging Face Hub can be reached."""

import os
from functools import cache

_TIMEOUT_S = 5.0


def why_unreachable() -> str | None:
    """Say why the Hub cannot be reached; None if it can.

    Asked once, with one request: the Hub's own packages try again for minutes where there is no network.
    """
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return f"the environment variable {name} is set"
    return _no_answer()


@cache
def _no_answer() -> str | None:
    try:
        from huggingface_hub import constants
        from huggingface_hub.utils import get_session
    except ImportError:
        return "another package is needed: pip install 'fastneurons[hub]'"
    try:
        status = get_session().head(constants.ENDPOINT, timeout=_TIMEOUT_S).status_code
    except Exception as error:  # of requests or of httpx, as the version has it
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return f"{constants.ENDPOINT} does not answer ({reason})"
    return f"{constants.ENDPOINT} answers with status {status}" if status >= 500 else None
