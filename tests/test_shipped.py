"""The trained models in data/ are what their card says."""

import hashlib
import json
import random
import re
from pathlib import Path

import merges
import pytest
import torch

from lib.generate.rollouts import rollout
from lib.models import count_parameters
from lib.models.presets import PRESETS
from lib.tasks.arithmetic import Addition
from lib.tasks.english_french import translation_data
from lib.tasks.instructions import WORDS_FILE, Instructions, draw_statement
from lib.text.batches import split_text
from lib.text.bpe import BPETokenizer
from lib.text.corpus import SHA256, load_corpus
from lib.train import estimate_loss
from lib.train.checkpoint import load_checkpoint
from lib.translate import translate
from lib.translate.translator import exact_match
from lib.tune.rewards import sum_reward

DATA = Path(__file__).resolve().parents[1] / "data"
ROW = re.compile(
    r"\| `(.+\.safetensors)` \| (\S+) \| ([\d,]+) \| ([\d.]+) \| ([\d,]+) \|"
)
TEXT = (DATA / "README.md").read_text("utf-8")
CARD = ROW.findall(TEXT)
TRANSLATOR = re.findall(
    r"\| `(translator\.\S+)` \| Transformer \| ([\d,]+) \| ([\d.]+) % \| ([\d.]+) % \| "
    r"([\d,]+) \|",
    TEXT,
)
REWARDED = re.findall(
    r"\| `(rl-start\.\S+)` \| GPT \| ([\d,]+) \| ([\d.]+) % \| ([\d.]+) % \| "
    r"([\d.]+) % \| ([\d,]+) \|",
    TEXT,
)
WORKBOOK = re.findall(
    r"\| `(base-workbook\.\S+)` \| GPT \| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \| "
    r"([\d,]+) \|",
    TEXT,
)


def test_the_card_names_every_file():
    files = sorted(path.name for path in DATA.glob("*.safetensors"))
    rows = CARD + TRANSLATOR + REWARDED + WORKBOOK
    assert files and files == sorted(name for name, *_ in rows)


@pytest.mark.parametrize("name, preset, parameters, loss, size", CARD)
def test_a_file_is_what_its_card_says(name, preset, parameters, loss, size):
    checkpoint = load_checkpoint(DATA / name)
    notes, config = checkpoint.notes, checkpoint.model.config
    kept = {**vars(PRESETS[preset]), "dropout": config.dropout}
    assert vars(config) == kept
    assert count_parameters(checkpoint.model) == int(parameters.replace(",", ""))
    assert notes["validation_loss"] == float(loss)
    assert notes["data_sha256"] == SHA256 and f"--preset {preset}" in notes["command"]
    assert (DATA / name).stat().st_size == int(size.replace(",", "")) < 25e6
    assert not checkpoint.run and checkpoint.tokenizer.vocab_size == 65


@pytest.mark.parametrize(
    "name", sorted(name for name, *_ in CARD if "fp16" not in name)
)
def test_half_precision_writes_the_same(name):
    whole = load_checkpoint(DATA / name)
    half = load_checkpoint(DATA / name.replace(".safetensors", "-fp16.safetensors"))
    ids = torch.randint(65, (2, 64), generator=torch.Generator().manual_seed(0))
    assert (whole.model(ids) - half.model(ids)).abs().max() < 0.05


def test_the_loss_of_the_small_model_is_real():
    corpus = load_corpus()
    if corpus.is_stand_in:
        pytest.skip("needs Tiny Shakespeare")
    checkpoint = load_checkpoint(DATA / "gpt-mini.safetensors")
    tokens = torch.tensor(checkpoint.tokenizer.encode(split_text(corpus.text)[1]))
    loss = estimate_loss(checkpoint.model, tokens, 64)
    assert loss == pytest.approx(checkpoint.notes["validation_loss"], abs=1e-3)


@pytest.mark.parametrize("name, parameters, unseen, held_out, size", TRANSLATOR)
def test_the_translator_is_what_its_card_says(name, parameters, unseen, held_out, size):
    checkpoint, data = load_checkpoint(DATA / name), translation_data(1)
    assert count_parameters(checkpoint.model) == int(parameters.replace(",", ""))
    assert (DATA / name).stat().st_size == int(size.replace(",", ""))
    assert checkpoint.notes["command"] in TEXT
    for said, pairs in ((unseen, data.unseen), (held_out, data.held_out)):
        sentences = [pair.english for pair in pairs]
        french = translate(checkpoint.model, *checkpoint.tokenizer, sentences)
        assert 100 * exact_match(french, pairs) == pytest.approx(float(said), abs=0.3)


@pytest.mark.parametrize("name, parameters, greedy, drawn, steps, size", REWARDED)
def test_the_start_of_learning_from_rewards_is_what_its_card_says(
    name, parameters, greedy, drawn, steps, size
):
    checkpoint, task = load_checkpoint(DATA / name), Addition()
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    assert count_parameters(model) == int(parameters.replace(",", ""))
    assert (DATA / name).stat().st_size == int(size.replace(",", ""))
    assert checkpoint.notes["command"] in TEXT and checkpoint.notes["seed"] == 0
    prompts = [example.prompt for example in task.test_examples]
    ids = [tokenizer.encode(prompt) for prompt in prompts]
    for said, temperature, band in ((greedy, 0.0, 1.0), (drawn, 1.0, 6.0)):
        draws = torch.Generator().manual_seed(0)
        found = rollout(model, ids, 16, tokenizer.ids["."], temperature, draws)
        answers = [tokenizer.decode(answer) for answer in found.answers()]
        right = sum(map(sum_reward, prompts, answers)) / len(prompts)
        assert 100 * right == pytest.approx(float(said), abs=band)
    shown = sum(">" in answer for answer in answers) / len(answers)
    assert 100 * shown == pytest.approx(float(steps), abs=5.0)


@pytest.mark.parametrize("name, parameters, loss, statements, size", WORKBOOK)
def test_the_workbook_base_is_what_its_card_says(
    name, parameters, loss, statements, size
):
    checkpoint = load_checkpoint(DATA / name)
    model, tokenizer, notes = checkpoint.model, checkpoint.tokenizer, checkpoint.notes
    assert count_parameters(model) == int(parameters.replace(",", ""))
    assert (DATA / name).stat().st_size == int(size.replace(",", ""))
    assert tokenizer.characters == Instructions().tokenizer.characters
    assert notes["command"] in TEXT and notes["data_sha256"] == SHA256
    assert (notes["validation_loss"], notes["statements_loss"]) == (
        float(loss),
        float(statements),
    )
    rng = random.Random(notes["seed"] + 1)
    text = "".join(draw_statement(rng) for _ in range(1_000))
    found = estimate_loss(model, torch.tensor(tokenizer.encode(text)), 128)
    assert found == pytest.approx(float(statements), abs=1e-3)


def test_the_list_of_words_is_what_its_card_says():
    content = WORDS_FILE.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert f"| sha256 | `{digest}` |" in TEXT and f"{len(content):,} bytes" in TEXT
    assert (
        load_checkpoint(DATA / "base-workbook.safetensors").notes["words_sha256"]
        == digest
    )


def test_the_byte_pairs_are_what_their_card_says():
    content = merges.PATH.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert f"| sha256 | `{digest}` |" in TEXT and f"{len(content):,} bytes" in TEXT
    stored = BPETokenizer.load(merges.PATH)
    assert stored.vocab_size == merges.VOCAB_SIZE == 256 + len(stored.merges)
    if load_corpus().is_stand_in:
        pytest.skip("needs Tiny Shakespeare")
    assert json.loads(json.dumps(merges.learn().to_dict())) == json.loads(content)
