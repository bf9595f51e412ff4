"""Read a file's language and split from its path, and whether it is a numbered part of a whole.

A language is a whole tag (`languages.read_code`), in one of these places, the first that has one:

- the file's name between dots: `test.et.jsonl`, `Tatoeba.de-en.de`, `newstest2019-ref.fra-CA.txt`;
- the name with words around the tag that are known to be none, or with any words before it: `c4-zh-Latn.tfrecord`,
  `deu_news_2020_10K-sentences`, `mgsm_de`;
- a folder, the nearest first: `de/train-00000-of-00001.parquet`, `20231101.th/...`.

A tag with something unknown behind it is none (`bn_old`), as that could be a script or a dialect; nor are two
languages (`de-en`). Codes that are English words count less: `my_file`, `how_to` and `run_1` name no language,
`c4-is`, `my.txt` and `no/` do.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from fastneurons.data.readers.files import PACKED, format_of
from fastneurons.languages import Reading, read_code, short_code

SPLITS = {
    "train": "train", "training": "train",
    "dev": "validation", "val": "validation", "valid": "validation", "validation": "validation",
    "development": "validation",
    "test": "test", "tst": "test", "testing": "test",
    "devtest": "devtest",
    "eval": "eval", "evaluation": "eval",
}  # fmt: skip

# Names of data sets, of whole collections and of kinds of text that occur next to a language's code.
_COLLECTIONS = frozenset(
    """c4 mc4 cc cc100 ccaligned ccmatrix oscar culturax madlad fineweb glotcc wiki wikipedia wikimatrix wikinews
    wikisource wiktionary wikimedia wikidata news newscrawl newscommentary newstest newsdev web mixed udhr bible
    opus opensubtitles tatoeba europarl jrc emea kde gnome ubuntu qed ted tedtalks paracrawl bookcorpus books
    flores ntrex nllb mgsm gsm xnli xcopa copa pawsx paws xquad mlqa tydiqa belebele massive mmlu mmmlu arc
    hellaswag truthfulqa xstorycloze storycloze xwinograd mkqa mintaka mparel mpararel mzsre xlsum xtreme xglue
    wmt iwslt tico ccnews""".split()  # noqa: SIM905
)
# Words that occur next to a language's code and are no part of it.
_WORDS_AROUND = frozenset(
    """a all and archive articles block blocks chunk chunks clean cleaned common commentary corpora corpus crawl data
    dataset dedup deduped deduplicated demo docs documents dump examples file files filtered final full hyp input
    items json jsonl k lang language latest lines list m main meta metadata mini mono monolingual noisy of orig
    original output pages parallel part parts passages prompts public q questions r random raw ref reference refs
    rows sample samples segments sent sentence sentences sents set shard shards small snapshot source src subset
    tab target text texts tfrecord tgt tiny tok tokenized tokens tsv txt utf v version way with""".split()  # noqa: SIM905
)
# Codes that are at least as often a word, an abbreviation or a month. `hi`, `da`, `de`, `en`, `es`, `la`, `se` and
# others are codes first.
_ALSO_WORDS = frozenset(
    """am an as be cv ha he ho id ie in io is it ml mr ms mt my na no oc om or os pa pi so st to yo
    als arm ban bar ben bug cat cor cos dan div fin fur hat her hin hun ice ind kin lat lim lin lug mac mag
    mai mao mar may min mon mos nan nav nor pan pap per pol por ron rum run sag san sat sin sun tam tat tel ton
    war""".split()  # noqa: SIM905
)
_AROUND = _COLLECTIONS | _WORDS_AROUND | SPLITS.keys()
_TOKEN = re.compile(r"[^-_ ]+")
_DUMP = re.compile(r"(.+?)(?:wiki|wiktionary|wikisource|wikinews|wikiquote|wikibooks|wikivoyage)")
# WikiExtractor's folders AA, AB, ... hold files wiki_00, wiki_01, ...
_EXTRACTED = re.compile(r"wiki_\d+")
_CAPITALS = re.compile(r"[A-Z]{2,3}")
_MOST_SUBTAGS = 4
_PART = re.compile(r"(?<![^\W_])(?:part|shard|chunk|block|split)?(?!(?:19|20)\d\d(?!\d))\d+(?![^\W_])", re.A)
_COUNT = re.compile(r"(?<![^\W_])(?:part|shard|chunk|block|split)?\d+(?![^\W_])", re.A)


@dataclass(frozen=True, slots=True)
class Tag:
    """A language's tag in a name.

    Args:
        reading: What it means.
        start: Where it begins in the name without its format's ending.
        end: Where it ends.
        is_certain: Whether it can hardly be a word. Else other files decide: `mine_no` next to `mine_de`.
    """

    reading: Reading
    start: int
    end: int
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class Named:
    """A file's language.

    Args:
        reading: The language.
        spelled: As the path spells it.
        folder: The folder that names it, as a path; None where the file's own name does.
        shape: For a file that names it: its path with `{}` for the language and `#` for the numbers of parts; years
            and versions are not those.
        counted: The same with `#` for all numbers that stand by themselves.
    """

    reading: Reading
    spelled: str
    folder: str | None = None
    shape: str = ""
    counted: str = ""


def language_of_path(path: str) -> str | None:
    """The language that a path within a place names, as a short code; None if it names none."""
    named = named_by(path)
    return None if named is None else named.reading.code


def named_by(path: str, shapes: frozenset[str] = frozenset(), extracted: bool = False) -> Named | None:
    """The language of a file, by its path within a place.

    Args:
        path: The path.
        shapes: Those of other files of the place whose language is certain.
        extracted: Whether folders of two capitals are numbered parts, as WikiExtractor makes them.
    """
    own = tag_in(stem(path.rpartition("/")[2]))
    if own is not None and own.is_certain:
        return _by_name(path, own)
    if folder := _by_folder(path, extracted):
        return folder
    if own is not None:
        named = _by_name(path, own)
        return named if named.shape in shapes else None
    return None


def _by_name(path: str, tag: Tag) -> Named:
    folder, slash, name = path.rpartition("/")
    name = stem(name)
    shape, counted = (
        f"{folder}{slash}{number.sub('#', name[: tag.start])}{{}}{number.sub('#', name[tag.end :])}"
        for number in (_PART, _COUNT)
    )
    return Named(tag.reading, name[tag.start : tag.end], None, shape, counted)


def _by_folder(path: str, extracted: bool) -> Named | None:
    *folders, name = path.split("/")
    for depth in range(len(folders) - 1, -1, -1):
        folder = folders[depth]
        if re.fullmatch("[A-Z]{2}", folder) and (
            extracted
            or folder in ("AA", "AB")
            or _EXTRACTED.fullmatch(stem(name))
            or any(folder_tag(above) for above in folders[:depth])
        ):
            continue  # a numbered part
        if tag := folder_tag(folder):
            return Named(tag.reading, folder[tag.start : tag.end], "/".join(folders[: depth + 1]))
    return None


def folder_tag(folder: str) -> Tag | None:
    """The language's tag in a folder's name, if there is one that is no word."""
    tag = tag_in(folder)
    return tag if tag is not None and tag.is_certain else None


@lru_cache(maxsize=4096)
def tag_in(name: str) -> Tag | None:
    """The language's tag in a name without its format's ending."""
    if reading := read_code(name):
        return Tag(reading, 0, len(name))
    segments = [(match.start(), match[0]) for match in re.finditer(r"[^.]+", name)][::-1]
    whole = [
        Tag(reading, start, start + len(text))
        for start, text in segments
        if text.lower() not in SPLITS and (reading := read_code(text))
    ]
    if whole:
        # Of several the last, as Moses has it; a word only where there is nothing else.
        return next((tag for tag in whole if name[tag.start : tag.end].lower() not in _ALSO_WORDS), whole[0])
    found = [tag for start, text in segments if (tag := _among_words(text, start))]
    return next((tag for tag in found if tag.is_certain), found[0] if found else None)


def _among_words(text: str, offset: int) -> Tag | None:
    """A tag in a part of a name between dots, which is more than that."""
    tokens = list(_TOKEN.finditer(text))
    first, last = 0, len(tokens)
    while first < last and _is_around(tokens[first][0]):
        first += 1
    while first < last and _is_around(tokens[last - 1][0]):
        last -= 1
    if first == last:
        return None

    def tag(begin: int, end: int, is_certain: bool = False) -> Tag | None:
        start = tokens[begin].start()
        reading = read_code(text[start:end])
        if reading is None:
            return None
        return Tag(reading, offset + start, offset + end, is_certain or _is_no_word(text[start:end]))

    end = tokens[last - 1].end()
    inner = text[tokens[first].start() : end]
    before = [_letters(token[0]) for token in tokens[:first]]
    behind = [_letters(token[0]) for token in tokens[last:]]
    marked = any(word in _COLLECTIONS or word in SPLITS for word in before) or (
        len(inner) > 2 and any(word in _COLLECTIONS for word in behind)
    )
    if alone := tag(first, end, marked and not re.fullmatch("[A-Z]{3}", inner)):
        return alone
    if dump := _DUMP.fullmatch(inner):
        return tag(first, tokens[first].start() + len(dump[1]))
    for begin in range(max(first + 1, last - _MOST_SUBTAGS), last):
        if tokens[begin][0].islower() and (found := tag(begin, end)):
            words = [token[0] for token in tokens[first:begin]]
            # `ze_zh`, `en_de`, `zz-ca`: what stands before it could be a language too.
            if len(words[-1]) == 2 or any(short_code(word) and _is_no_word(word) for word in words):
                return None
            return found
    return None


def _is_no_word(tag: str) -> bool:
    """Whether a tag is unlikely to be a word or a lone region code, such as `CA` in `sales_CA`."""
    return tag.lower() not in _ALSO_WORDS and not _CAPITALS.fullmatch(tag)


def _letters(token: str) -> str:
    lower = token.lower()
    return lower if lower in _COLLECTIONS else re.sub(r"\d+", "", lower)


def _is_around(token: str) -> bool:
    letters = _letters(token)
    return not letters or len(letters) < len(token) == 2 or letters in _AROUND


# -- splits and parts ------------------------------------------------------------------------------------


def split_of(path: str) -> str | None:
    """The split that a path within a place names; the file's name says more than its folders, the nearest first."""
    *folders, name = path.split("/")
    for text in (without_packing(name), *reversed(folders)):
        for part in re.split(r"[^a-z]+", text.lower()):
            if part in SPLITS:
                return SPLITS[part]
    return None


_SPLIT = re.compile(rf"(?:^|[._-])(?:{'|'.join(sorted(SPLITS, key=len, reverse=True))})(?=[._-]|\d*$)", re.I)


def kin(path: str) -> str:
    """The part of a path that it shares with the same file in other languages, splits and numbers."""
    named = named_by(path)
    *folders, name = path.split("/")
    name = stem(name)
    if named is not None and named.folder is None:
        tag = tag_in(name)
        assert tag is not None
        name = f"{name[: tag.start]}{{}}{name[tag.end :]}"
    elif named is not None and named.folder is not None:
        folders[named.folder.count("/")] = "{}"
    folders = [folder for folder in folders if folder.lower() not in SPLITS]
    return re.sub(r"\d+", "#", "/".join([*folders, _SPLIT.sub("", name).strip("._-")]))


def unread_tag(path: str) -> str | None:
    """A part of a file's name that begins with a language's code but continues in an unknown way, or None.

    Such a file is more likely meant to be of that language, in some variety, than to be something else.
    """
    for text in reversed(stem(path.rpartition("/")[2]).split(".")):
        words = list(_TOKEN.finditer(text))
        while words and _is_around(words[0][0]):
            words.pop(0)
        if len(words) > 1 and short_code(words[0][0]) and _is_no_word(words[0][0]):
            return text[words[0].start() :]
    return None


def without_packing(path: str) -> str:
    """A path without the ending of its compression."""
    return next((path[: -len(end)] for end in PACKED if path.lower().endswith(end)), path)


def stem(path: str) -> str:
    """A path without the endings of its compression and its format."""
    path = without_packing(path)
    return path if format_of(path) is None else path[: path.rindex(".")]
