"""Stores of texts and perplexities whose every text holds escape sequences and markup: nothing of it acts."""

import msgspec
import numpy as np
import pytest

from fastneurons.report.page.reproduce import command
from fastneurons.store import StoreWriter
from tests.cli.test_untrusted_text import EVIL, acting, called
from tests.store.edited import draw_edited

MARKUP = "<img src=x onerror='window.hacked = true'>"


@pytest.mark.parametrize("kind", ["generate", "perplexity"])
def test_no_text_of_the_store_acts_on_a_terminal_or_in_a_page(kind, tmp_path, capsys, opened):
    evil = EVIL + MARKUP
    run = draw_edited(
        kind, 9, keep_prompts=True, measures={"capitals": "starts-with"} if kind == "generate" else {}
    )
    header = msgspec.structs.replace(
        run.header, model=f"./m{evil}", tasks=[f"t{evil}", "b"], task=f"t{evil}", source=f"s{evil}",
        languages=[f"l{evil}", "de", "zh"], conditions=["intact", f"c{evil}"],
        measures={f"t{evil}": f"h{evil}"} if kind == "generate" else {}, warnings=[f"w{evil}"],
        edits={
            f"e{evil}": f"v{evil}", "max_tokens": f"n{evil}", "block_size": f"b{evil}", "until": [f"u{evil}"],
            f"edit c{evil}": f"d{evil}",
        },
    )  # fmt: skip
    path = tmp_path / "s.zarr"
    with StoreWriter.create(str(path), header, keep_bits=False, keep_prompts=True) as writer:
        for window in run.windows():
            for name in ("text", "prompt", "example_id"):
                if name in window.arrays:
                    text = [
                        each and f"{each}{evil}".replace("\x00", "")
                        for each in window.arrays[name].ravel().tolist()
                    ]
                    shape = window.arrays[name].shape
                    window.arrays[name] = np.array(text, np.dtypes.StringDType()).reshape(shape)
            writer.commit(window)
        writer.finish()
    called(capsys, "summary", path)
    called(capsys, "summary", path, "--json")
    assert not acting(command(header))
    called(capsys, "report", path, "-o", tmp_path / "p.html")
    html = (tmp_path / "p.html").read_text()
    assert "window.hacked" not in html
    page = opened(tmp_path / "p.html")
    assert page.evaluate("window.hacked") is None and page.locator("img").count() == 0
    assert "window.hacked" in page.locator("h1").inner_text()
    if kind == "generate":
        assert page.locator("#texts .cards .prose", has_text="window.hacked").count() > 3
