"""Names of models as users write them: a folder's path, or a name on the Hub."""


def is_path(model: str) -> bool:
    """Whether it is written as a path; `org/model`, which may be either, is not."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1


def short_name(model: str) -> str:
    """Shorten a model's name for display: a Hub name stays whole, a path is cut to its last part."""
    return model.rstrip("/").rpartition("/")[2] if is_path(model) else model
