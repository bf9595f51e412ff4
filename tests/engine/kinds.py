"""Tokenizers of many kinds, made on the spot: what is merged, what is marked, and whether offsets are told."""

from typing import Any

_TEXTS = [
    "The river runs to the sea.",
    "Der Fluss fließt zum Meer.",
    "แม่น้ำไหลลงทะเล",
    "河流流向大海",
    "Paris Berlin Wien",
] * 3
_SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<user>", "<model>", "<end>"]


def trained(kind: str) -> Any:
    """A tokenizer of a kind, without marks: "byte-bpe", "metaspace-bpe", "unigram", "wordpiece"."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    common: dict[str, Any] = {"special_tokens": _SPECIAL, "show_progress": False}
    if kind == "byte-bpe":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, **common)
    elif kind == "metaspace-bpe":  # as Llama's: a space before the text, and marks for spaces
        made = Tokenizer(models.BPE(unk_token="<unk>"))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=200, **common)
    elif kind == "unigram":
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=200, unk_token="<unk>", **common)
    else:
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=200, **common)
    made.train_from_iterator(_TEXTS, trainer)
    return made


def fast(kind: str, begin: bool = False, end: bool = False) -> Any:
    """A fast tokenizer that marks begins, ends, both or neither."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    made = trained(kind)
    ids = [(token, made.token_to_id(token)) for token in ("<s>", "</s>")]
    form = f"{'<s> ' if begin else ''}$A{' </s>' if end else ''}"
    if begin or end:
        made.post_processor = TemplateProcessing(
            single=form, special_tokens=[pair for pair in ids if pair[0] in form]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        additional_special_tokens=["<user>", "<model>", "<end>"],
    )  # fmt: skip


def characters(begin: bool = False, end: bool = False, merges: tuple[str, ...] = ()) -> Any:
    """A tokenizer in Python only: a token a character, but for the merges; it tells no offsets."""
    from transformers import PreTrainedTokenizer

    class Characters(PreTrainedTokenizer):  # type: ignore[misc]
        model_input_names = ("input_ids", "attention_mask")

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)

        @property
        def vocab_size(self) -> int:
            return 0x110000 + len(merges)

        def get_vocab(self) -> dict[str, int]:
            return dict(self.added_tokens_encoder)

        def _tokenize(self, text: str, **_: Any) -> list[str]:
            pieces, k = [], 0
            while k < len(text):
                piece = next((merge for merge in merges if text.startswith(merge, k)), text[k])
                pieces.append(piece)
                k += len(piece)
            return pieces

        def _convert_token_to_id(self, token: str) -> int:
            return (
                0x110000 + merges.index(token) if token in merges else ord(token[0]) if len(token) == 1 else 0
            )

        def _convert_id_to_token(self, index: int) -> str:
            return merges[index - 0x110000] if index >= 0x110000 else chr(index)

        def convert_tokens_to_string(self, tokens: list[str]) -> str:
            return "".join(tokens)

        def build_inputs_with_special_tokens(self, one: list[int], two: list[int] | None = None) -> list[int]:
            return [*([self.bos_token_id] if begin else []), *one, *([self.eos_token_id] if end else [])]

    from transformers import AddedToken

    vocabulary = 0x110000 + len(merges)
    special = {
        vocabulary + k: AddedToken(t, special=True, normalized=False) for k, t in enumerate(("<s>", "</s>"))
    }
    return Characters(added_tokens_decoder=special, bos_token="<s>", eos_token="</s>")
