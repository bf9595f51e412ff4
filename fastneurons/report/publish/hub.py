"""Upload a folder to the Hugging Face Hub as a data set."""

import re
from pathlib import Path
from typing import Any

from fastneurons.errors import InputError, OutputError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def check_push(name: str) -> None:
    """Check that a folder can be uploaded, before it is made: the name, the package, a login.

    Raises:
        InputError: the name is no name of a repository, huggingface_hub is missing, offline, or not logged in.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"--push-to-hub {name}: is not a name of a repository, such as user/name")
    hub = _huggingface_hub()
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise InputError("--push-to-hub: HF_HUB_OFFLINE is set, so nothing is uploaded; unset it")
    if hub.get_token() is None:
        raise InputError("--push-to-hub: not logged in to the Hugging Face Hub; run: hf auth login")


def push(folder: Path, name: str, private: bool = False) -> str:
    """Upload a folder as a data set, which is made if it does not exist.

    Args:
        name: Of the repository: `user/name`.
        private: Whether a new repository is private.
    Returns:
        Its address.
    Raises:
        InputError: huggingface_hub is missing.
        OutputError: the Hub cannot be reached, or refuses.
    """
    api = _huggingface_hub().HfApi()
    try:
        repository = api.create_repo(name, repo_type="dataset", private=private or None, exist_ok=True)
        api.upload_folder(
            repo_id=repository.repo_id,
            folder_path=str(folder),
            repo_type="dataset",
            commit_message="Upload measurements made with fastneurons",
        )
    except Exception as error:
        # The errors of whichever HTTP library huggingface_hub uses share no base with its own.
        known = isinstance(error, OSError | ValueError)
        if not known and not type(error).__module__.startswith(("httpx", "requests")):
            raise
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise OutputError(f"{folder} is complete, but was not uploaded to {name}: {reason}") from error
    return str(repository)


def _huggingface_hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError("--push-to-hub needs huggingface_hub: pip install 'fastneurons[hub]'") from error
    return huggingface_hub
