"""Instruction tuning: questions, rows, the tuning, and faults that must be seen."""

import json
import random
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from lib.evaluate.losses import masked_loss
from lib.generate.rollouts import Rollouts
from lib.models.gpt import GPT, GPTConfig
from lib.tasks.instructions import (
    KINDS,
    SKILLS,
    Instructions,
    draw_repeated,
    draw_statement,
    word_lists,
)
from lib.tasks.task import Example, Rows, encode_examples
from lib.text.chat import CHATML, QUESTIONS, render
from lib.text.tokenizer import CharTokenizer
from lib.train.settings import TrainConfig
from lib.tune import sft
from lib.tune.sft import (
    Conversations,
    SFTConfig,
    ask,
    conversation_rows,
    fine_tune,
    share_right,
    stop_rate,
    with_prompts,
    with_replay,
)

TOKENIZER = Instructions().tokenizer
SMALL = GPTConfig(
    vocab_size=TOKENIZER.vocab_size,
    d_model=32,
    n_layers=2,
    n_heads=2,
    d_ff=64,
    context_length=96,
    position="rotary",
    init="fan_in",
    tie_weights=False,
)
QUICK = SFTConfig(n_steps=60, learning_rate=5e-3, n_warmup=5, batch_size=8)


def talk(*words: str) -> list[dict]:
    roles = ["user", "assistant"] * len(words)
    return [{"role": role, "content": w} for role, w in zip(roles, words)]


TALKS = [talk("a?", "bb"), talk("c?", "dddd"), talk("e?", "f", "g?", "hhh")]


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(SMALL).eval()


# The questions


def test_words_are_short_and_in_one_list_only():
    known, held_out = word_lists()
    assert len(held_out) == 300 and len({*known, *held_out}) == len(known) + 300 > 2_000
    assert all(w.isalpha() and w.islower() and 3 <= len(w) <= 6 for w in known)


def test_every_skill_has_eight_wordings_and_two_that_are_kept():
    wordings = [w for skill in SKILLS.values() for w in skill.known + skill.unseen]
    assert len(wordings) == len({*wordings}) == 100
    assert {(len(s.known), len(s.unseen)) for s in SKILLS.values()} == {(8, 2)}


def test_answers_are_right():
    word = {"w": "kings", "l": "n", "a": 8, "b": 7}
    answers = {name: skill.answer(word) for name, skill in SKILLS.items()}
    assert answers == {
        "reverse": "sgnik", "upper": "KINGS", "count": "5", "first": "k", "last": "s",
        "repeat": "kings kings", "spell": "k-i-n-g-s", "sum": "15", "contains": "yes",
        "copy": "kings",
    }  # fmt: skip
    assert SKILLS["contains"].answer({"w": "kings", "l": "a"}) == "no"


@pytest.mark.parametrize("skill", SKILLS.values(), ids=SKILLS)
def test_what_is_kept_is_never_drawn_to_learn(skill):
    rng = random.Random(0)
    learnt, kept = (
        {tuple(skill.draw(rng, unseen).items()) for _ in range(2_000)}
        for unseen in (False, True)
    )
    assert learnt.isdisjoint(kept) and len(kept) >= 20


def test_a_letter_is_in_its_word_half_of_the_time():
    rng, skill = random.Random(0), SKILLS["contains"]
    said = [skill.answer(skill.draw(rng, True)) for _ in range(2_000)]
    assert 0.45 < said.count("yes") / len(said) < 0.55


def forms(wordings: tuple[str, ...]) -> set[str]:
    """What stands around what is drawn."""
    return {re.sub(r"{.}", "*", wording) for wording in wordings}


def form(example: Example, name: str) -> str:
    """The wording that an example was made with."""
    question = example.prompt[3:-4]
    if name == "sum":
        return re.sub(r"\b\d\b", "*", question)
    question = re.sub(r'"[^"]+"', '"*"', question)
    letter = r"\b[a-z]\b(?! letter)"
    return re.sub(letter, "*", question) if name == "contains" else question


@pytest.mark.parametrize("kind", KINDS)
def test_the_test_asks_in_the_wordings_that_it_says(kind):
    task = Instructions(unseen=kind, n_each=60)
    _, held_out = word_lists()
    for name, examples in task.questions.items():
        known = kind == "words"
        wanted = forms(SKILLS[name].known if known else SKILLS[name].unseen)
        assert {form(example, name) for example in examples} == wanted
        for prompt, answer, _ in examples:
            assert prompt.startswith("Q: ") and prompt.endswith("\nA: ")
            assert answer.endswith("\n") and answer.count("\n") == 1
            assert {*"".join(prompt.split('"')[1:2]).split()} <= {*held_out}
    prompts = {e.prompt for examples in task.questions.values() for e in examples}
    assert len(task.test_examples) == len(prompts) > 500


def test_no_wording_to_learn_with_is_one_that_is_kept():
    known = set().union(*(forms(skill.known) for skill in SKILLS.values()))
    unseen = set().union(*(forms(skill.unseen) for skill in SKILLS.values()))
    assert len(known) == 80 and len(unseen) == 20 and known.isdisjoint(unseen)


@pytest.mark.parametrize("settings, words", [
    ({"unseen": "letters"}, "unseen='letters' must be one of words, wordings"),
    ({"n_each": 0}, "n_each=0 must be 1 .. 1000"),
])  # fmt: skip
def test_tests_that_there_are_not_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Instructions(**settings)


def test_statements_ask_nothing_and_have_only_words_to_learn_with():
    rng, (_, held_out) = random.Random(0), word_lists()
    lines = [draw_statement(rng) for _ in range(3_000)]
    text = "".join(lines)
    assert len({line.split('"')[0].split(" ")[0] for line in lines}) >= 4
    assert not any(sign in text for sign in ("?", "Q: ", "A: "))
    quoted = {w for line in lines for w in line.split('"')[1:2] for w in w.split()}
    assert quoted.isdisjoint(held_out)
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)


def test_statements_are_true():
    rng = random.Random(1)
    for line in (draw_statement(rng) for _ in range(2_000)):
        word = line.split('"')[1] if '"' in line else ""
        if "backwards" in line:
            assert line.endswith(f"is {word[::-1]}.\n")
        if "The letter " in line:
            assert line.endswith("yes.\n") == (line.split()[2] in word)
        if line.startswith("We know"):
            a, b, total = (int(w.strip(".")) for w in line.split() if w[0].isdigit())
            assert a + b == total


def test_what_is_repeated_is_repeated():
    rng = random.Random(0)
    for line in (draw_repeated(rng) for _ in range(200)):
        n = next(n for n in (2, 3, 4) if _comes(line, n))
        assert n and line.endswith("\n")


def _comes(line: str, n: int) -> bool:
    size, rest = divmod(len(line[:-1]) - (n - 1), n)
    return rest == 0 and " ".join([line[:size]] * n) == line[:-1]


# Rows of conversations


def seen(rows: Rows) -> list[str]:
    return [TOKENIZER.decode(t[own]) for t, own in zip(rows.targets, rows.counted)]


def test_every_answer_counts_with_its_stop_and_no_question_does():
    rows = conversation_rows(TOKENIZER, TALKS)
    assert seen(rows) == ["bb\n", "dddd\n", "f\nhhh\n"]
    whole = TOKENIZER.decode([rows.inputs[2, 0], *rows.targets[2]])
    assert whole == render(TALKS[2]) == "Q: e?\nA: f\nQ: g?\nA: hhh\n"


def test_rows_are_the_same_as_those_of_examples():
    examples = Instructions().test_examples[::40]
    talks = [talk(prompt[3:-4], answer[:-1]) for prompt, answer, _ in examples]
    pairs = zip(
        conversation_rows(TOKENIZER, talks), encode_examples(TOKENIZER, examples)
    )
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_words_of_the_system_do_not_count():
    talks = [[{"role": "system", "content": "Be short."}, *TALKS[0]]]
    assert seen(conversation_rows(TOKENIZER, talks)) == ["bb\n"]
    assert seen(conversation_rows(TOKENIZER, talks, CHATML)) == ["bb" + CHATML.stop]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_filling_changes_no_loss(model, dtype):
    model, apart = model.to(dtype), [conversation_rows(TOKENIZER, [t]) for t in TALKS]
    n = torch.tensor([rows.counted.sum() for rows in apart])
    losses = torch.stack([masked_loss(model, *rows) for rows in apart])
    together = masked_loss(model, *conversation_rows(TOKENIZER, TALKS))
    bound = 1e-6 if dtype == torch.float32 else 2e-2
    assert losses.dtype == torch.float32
    assert together.item() == pytest.approx(
        ((losses * n).sum() / n.sum()).item(), abs=bound, rel=0
    )


def test_a_question_gets_no_gradient_of_its_own(model):
    rows = conversation_rows(TOKENIZER, TALKS[:1])
    logits = model(rows.inputs)
    logits.retain_grad()
    masked_loss_of = torch.nn.functional.cross_entropy(
        logits[rows.counted], rows.targets[rows.counted]
    )
    masked_loss_of.backward()
    assert torch.equal(logits.grad.abs().sum(-1) > 0, rows.counted)
    assert masked_loss_of.item() == pytest.approx(
        masked_loss(model, *rows).item(), abs=1e-6
    )


@pytest.mark.parametrize("talks, words", [
    ([], "rows="), ([[]], "messages="), ([talk("a?")], r"conversations\[0\] has no"),
    ([talk("a?", "b\nc")], "in its content"), ([talk("ü?", "b")], "'ü'"),
])  # fmt: skip
def test_conversations_that_cannot_be_learnt_from_are_refused(talks, words):
    with pytest.raises(ValueError, match=words):
        conversation_rows(TOKENIZER, talks)


def test_conversations_are_drawn_with_a_generator():
    talks = Conversations(TOKENIZER, TALKS)
    draw = [talks.batch(50, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert all(map(torch.equal, draw[0], draw[1]))
    assert not torch.equal(draw[0].inputs, draw[2].inputs)
    assert {*seen(draw[0])} == {"bb\n", "dddd\n", "f\nhhh\n"}
    with pytest.raises(ValueError, match="conversations="):
        Conversations(TOKENIZER, []).batch(1, torch.Generator())


# Other targets


def test_with_prompts_all_but_the_filling_counts():
    rows = with_prompts(conversation_rows(TOKENIZER, TALKS))
    assert seen(rows) == [render(t)[1:] for t in TALKS]


def test_replay_adds_windows_of_the_text_in_which_all_counts():
    rows, text = conversation_rows(TOKENIZER, TALKS), torch.arange(60) + 30
    both = with_replay(rows, text, 4, torch.Generator().manual_seed(0))
    assert all(torch.equal(a[:3], b) for a, b in zip(both, rows))
    assert both.counted[3:].all() and len(both.inputs) == 7
    assert torch.equal(both.targets[3:], both.inputs[3:] + 1)
    assert len({*both.inputs[3:, 0].tolist()}) > 1
    with pytest.raises(ValueError, match="batch_size=0"):
        with_replay(rows, text, 0)


# Tuning


def test_a_model_is_tuned_in_place_and_stays_in_its_mode(model):
    before = [w.clone() for w in model.parameters()]
    losses = fine_tune(model, Conversations(TOKENIZER, TALKS).batch, QUICK)
    assert len(losses) == 60 and losses[-1] < 0.1 < losses[0]
    assert not model.training
    assert not any(map(torch.equal, before, model.parameters()))
    right = [TOKENIZER.encode(end) for end in ("bb\n", "dddd\n", "f\n")]
    asked = [t[:1] for t in TALKS]
    written = ask(model, TOKENIZER, asked, n_new=8)
    assert written.answers() == right and stop_rate(written, 0) == 1.0
    later = ask(model, TOKENIZER, [TALKS[2][:3]], n_new=8)
    assert later.answers() == [TOKENIZER.encode("hhh\n")]


def test_a_seed_says_what_is_drawn(model):
    def weights(seed: int) -> list:
        copy = GPT(SMALL)
        copy.load_state_dict(model.state_dict())
        config = replace(QUICK, n_steps=2, seed=seed)
        fine_tune(copy, Conversations(TOKENIZER, TALKS).batch, config)
        return [*copy.parameters()]

    assert all(map(torch.equal, weights(0), weights(0)))
    assert not all(map(torch.equal, weights(0), weights(1)))


def test_cutting_a_batch_changes_nothing(model):
    found = []
    for accumulation in (1, 4):
        copy = GPT(SMALL)
        copy.load_state_dict(model.state_dict())
        config = replace(QUICK, n_steps=3, accumulation=accumulation, n_replay=2)
        text = torch.randint(96, (200,), generator=torch.Generator().manual_seed(0))
        talks = Conversations(TOKENIZER, TALKS)
        found.append(fine_tune(copy, talks.batch, config, replay=text))
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_replay_keeps_what_the_model_knew(model):
    text = torch.arange(960) % 12 + 40  # twelve signs, over and over
    rows = Rows(text[None, :90], text[None, 1:91], torch.ones(1, 90, dtype=torch.bool))
    fine_tune(model, lambda n, generator: rows, replace(QUICK, n_steps=40))
    kept = GPT(SMALL)
    kept.load_state_dict(model.state_dict())
    talks = Conversations(TOKENIZER, TALKS).batch
    config = replace(QUICK, n_steps=40, learning_rate=0.02)
    fine_tune(model, talks, config)
    fine_tune(kept, talks, replace(config, n_replay=2), replay=text)
    with torch.no_grad():
        forgot, knows = (masked_loss(m, *rows).item() for m in (model, kept))
    assert knows < 0.3 < forgot


def test_settings_are_those_of_a_training_and_a_few_more():
    own = SFTConfig()
    assert (own.schedule, own.n_warmup, own.learning_rate) == ("linear", 20, 1e-3)
    others = {*asdict(own)} - {*asdict(TrainConfig(1))}
    assert others == {"batch_size", "n_replay", "answers_only", "seed"}


@pytest.mark.parametrize("settings, words", [
    ({"batch_size": 0}, "batch_size=0"), ({"n_replay": -1}, "n_replay=-1 must be 0"),
    ({"n_steps": 0}, "n_steps=0"), ({"learning_rate": 0.0}, "learning_rate=0.0"),
])  # fmt: skip
def test_settings_that_there_are_not_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        SFTConfig(**settings)


@pytest.mark.parametrize("n_replay, replay", [(0, torch.arange(9)), (2, None)])
def test_replay_needs_both_a_text_and_a_number(model, n_replay, replay):
    config = replace(QUICK, n_replay=n_replay)
    with pytest.raises(ValueError, match=f"n_replay={n_replay} does not go with"):
        fine_tune(model, Conversations(TOKENIZER, TALKS).batch, config, replay)


# Asking


def test_the_stop_rate_counts_answers_that_end():
    ids = torch.tensor([[5, 6, 7, 0], [5, 6, 0, 0], [5, 6, 7, 8]])
    written = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 0], [0, 1, 1, 1]]).bool()
    assert stop_rate(Rollouts(ids, written), 0) == pytest.approx(2 / 3)


def test_a_stop_in_the_question_or_in_the_filling_is_none():
    ids = torch.tensor([[0, 5, 6, 0]])
    assert stop_rate(Rollouts(ids, torch.tensor([[False, True, True, False]])), 0) == 0


@pytest.mark.parametrize("talks, template, words", [
    ([], QUESTIONS, "prompts must be"),
    ([TALKS[0]], QUESTIONS, "must end with the user"),
    ([talk("a?")], CHATML, r"stop='.+' is 1\d tokens; it must be one"),
])  # fmt: skip
def test_what_cannot_be_asked_is_refused(model, talks, template, words):
    with pytest.raises(ValueError, match=words):
        ask(model, TOKENIZER, talks, template=template)


def test_shares_are_those_of_greedy_generation(model):
    with torch.no_grad():
        model.head.weight.mul_(9)
    questions = {
        name: examples[:5] for name, examples in Instructions().questions.items()
    }
    prompts = [[e.prompt[3:-4] for e in some] for some in questions.values()]
    answers = [ask(model, TOKENIZER, [talk(p) for p in some]) for some in prompts]
    answers = [[TOKENIZER.decode(a) for a in each.answers()] for each in answers]
    answers[0][0] = "x"
    changed = {  # the model is right now and then
        name: [
            e._replace(answer=said if i % 2 == 0 or not said.endswith("\n") else "no\n")
            for i, (e, said) in enumerate(zip(some, mine))
        ]
        for (name, some), mine in zip(questions.items(), answers)
    }
    found = share_right(model, TOKENIZER, changed)
    wanted = {
        name: sum(e.answer == said for e, said in zip(changed[name], mine)) / 5
        for name, mine in zip(changed, answers)
    }
    wanted["reverse"] -= 0.2  # the one that it did not write
    assert found == pytest.approx(wanted)


# Faults that others report, each shown by what it does


def stop_not_learnt(rows: Rows) -> Rows:
    """The end of a turn lies outside the mask."""
    return rows._replace(counted=rows.counted & (rows.targets != 0))


def question_counts(rows: Rows) -> Rows:
    return with_prompts(rows)


def mask_not_moved(rows: Rows) -> Rows:
    counted = torch.cat([rows.counted[:, 1:], rows.counted[:, :1] & False], dim=1)
    return rows._replace(counted=counted)


def only_the_last_turn(rows: Rows) -> Rows:
    """Everything before the last question is taken for a prompt."""
    counted = rows.counted.clone()
    counted[2, :12] = False
    return rows._replace(counted=counted)


def filling_counts(rows: Rows) -> Rows:
    end = with_prompts(rows).counted
    return rows._replace(counted=rows.counted | ~end)


FAULTS = [
    stop_not_learnt, question_counts, mask_not_moved, only_the_last_turn, filling_counts
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_mask_is_seen_in_the_text_that_counts(fault):
    rows = conversation_rows(TOKENIZER, TALKS)
    assert seen(fault(rows)) != ["bb\n", "dddd\n", "f\nhhh\n"]


def test_a_model_whose_stop_is_not_learnt_never_stops(model):
    talks = Conversations(TOKENIZER, TALKS)
    draw = lambda n, generator: stop_not_learnt(talks.batch(n, generator))  # noqa: E731
    fine_tune(model, draw, QUICK)
    written = ask(model, TOKENIZER, [t[:1] for t in TALKS], n_new=20)
    assert stop_rate(written, 0) == 0.0
    assert all(len(answer) == 20 for answer in written.answers())


def test_a_prompt_encoded_as_one_text_may_differ():
    """Pieces are encoded one by one, in learning and in asking alike."""

    class Pairs(CharTokenizer):
        """Has one token for two characters: the end of a line and an A."""

        def encode(self, text: str) -> list[int]:
            return super().encode(text.replace("\nA", "Z"))

    pairs = Pairs("\nQA: abZ?")
    rows = conversation_rows(pairs, [talk("a?", "b")])
    assert 9 not in rows.inputs  # no token over the end of a piece
    torch.manual_seed(0)
    model = GPT(replace(SMALL, vocab_size=pairs.vocab_size))
    written = ask(model, pairs, [talk("a?")], n_new=1)
    n = len(rows.inputs[0]) - 1
    assert torch.equal(written.ids[0, :n], rows.inputs[0, :n])
    assert pairs.decode(written.ids[0, :n]) == "Q: a?\nA: "


def test_dropout_is_on_while_tuning_and_off_while_asking():
    torch.manual_seed(0)
    model = GPT(replace(SMALL, dropout=0.5)).eval()
    modes = []
    model.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    fine_tune(model, Conversations(TOKENIZER, TALKS).batch, replace(QUICK, n_steps=2))
    ask(model, TOKENIZER, [TALKS[0][:1]], n_new=2)
    assert modes[:2] == [True, True] and not any(modes[2:])


def test_the_module_offers_what_it_defines():
    assert {*sft.__all__} <= {*vars(sft)}


def test_the_record_holds_runs_of_the_recipe_that_the_library_has():
    path = Path(__file__).resolve().parents[1] / "data" / "instructions.json"
    record = json.loads(path.read_text("utf-8"))
    assert record["recipe"] == {
        name: [*value] if isinstance(value, tuple) else value
        for name, value in asdict(SFTConfig()).items()
    }
    for run in record["runs"].values():
        assert {*run["words by skill"][0]} == {*SKILLS}
        assert len(run["words"]) == len(run["text"]) >= 1
        for share, skills in zip(run["words"], run["words by skill"]):
            assert share == pytest.approx(sum(skills.values()) / len(SKILLS), abs=1e-4)
