"""A tiny model, trained in seconds, that knows facts in two languages: one of them through neurons of its own.

Some neurons of each layer, `SPECIFIC`, are trained to fire at the end of German prompts and not of English ones, and to
carry what the model knows in German; the others fire in both languages. Random neurons fail now and then during the
training, so that no few of them matter.
"""

from pathlib import Path
from typing import Any

from fastneurons.data.example import Example
from tests.engine import tiny

LANGUAGES = ("en", "de")
NEURONS = 48
SPECIFIC = range(40, 48)  # of each layer
LAYERS = 2
_SUBJECTS = "abcdefghijklmnop"
_CHOICES = tuple("01234567")
_MARGIN = 0.5


def facts() -> list[Example]:
    """Sixteen facts, each with the same eight choices in both languages."""
    return [
        Example(
            subject,
            {language: f"{language} {subject}=" for language in LANGUAGES},
            dict.fromkeys(LANGUAGES, _CHOICES[5 * k % 8]),
            f"fact {subject}",
            choices=dict.fromkeys(LANGUAGES, _CHOICES),
            joints=dict.fromkeys(LANGUAGES, ""),
        )
        for k, subject in enumerate(_SUBJECTS)
    ]


def train(folder: Path, steps: int = 250) -> Path:
    """Train the model and write it; returns its folder."""
    import torch
    import transformers
    from torch.nn.functional import cross_entropy

    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=tiny.VOCABULARY, hidden_size=64, intermediate_size=NEURONS, num_hidden_layers=LAYERS,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=128, bos_token_id=1,
            eos_token_id=2, pad_token_id=0,
        )
    )  # fmt: skip
    tokenizer = tiny.tokenizer()
    rows = facts()
    prompts = torch.tensor(
        [tokenizer(row.prompts[language])["input_ids"] for language in LANGUAGES for row in rows]
    )
    [answers] = torch.tensor(
        [[tokenizer(row.answers[language])["input_ids"][0] for language in LANGUAGES for row in rows]]
    )
    choices = torch.tensor([tokenizer(choice)["input_ids"][0] for choice in _CHOICES])
    E = len(rows)
    wrong = torch.stack(
        [choices[(int((choices == answer).nonzero()) + 1) % len(choices)] for answer in answers[E:]]
    )
    own = torch.zeros(NEURONS, dtype=torch.bool)
    own[list(SPECIFIC)] = True
    # Whether each neuron is to fire at the end of each prompt: those of German alone, and all others always.
    fires = torch.where(own & (torch.arange(2 * E) < E)[:, None], -1.0, 1.0)
    gates: list[Any] = []
    kept = torch.ones(1)

    def mask(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0] * kept[:, None],)

    for layer in model.model.layers:
        layer.mlp.gate_proj.register_forward_hook(lambda _, __, output: gates.append(output[:, -1]))
        layer.mlp.down_proj.register_forward_pre_hook(mask)
    # Three times each prompt: as it is, with some random neurons off, and without German's own.
    batch = prompts.repeat(3, 1)
    optimiser = torch.optim.AdamW(model.parameters(), 4e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps)
    for _ in range(steps):
        some = torch.rand(2 * E, NEURONS) > 0.2
        kept = torch.cat([torch.ones(2 * E, NEURONS), some.float(), (~own).float().expand(2 * E, -1)])
        gates.clear()
        logits = model(batch).logits[:, -1]
        wanted = torch.stack(gates)[:, : 2 * E] * fires
        known = torch.cat([logits[: 4 * E], logits[4 * E : 5 * E]])  # English also without German's neurons
        mistaken = logits[5 * E :]  # German without them: the next choice, which is wrong
        loss = (
            cross_entropy(known, torch.cat([answers, answers, answers[:E]]))
            + cross_entropy(mistaken, wrong)
            + (_MARGIN - wanted).clamp(min=0).mean() * 4
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
