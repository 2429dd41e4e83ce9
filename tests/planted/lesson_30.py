"""Wrong answers to the exercises of lesson 30, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_30.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import torch
from torch.nn import functional as F

# Exercise 1


def columns_for_rows(rewards):
    return (rewards[None, :] - rewards[:, None]).sigmoid()


def differences(rewards):
    return rewards[:, None] - rewards[None, :]


def nobody_meets_himself(rewards):
    return (rewards[:, None] - rewards).sigmoid() * (1 - torch.eye(len(rewards)))


def softmax_of_all(rewards):
    return rewards.softmax(dim=0)[:, None].expand(len(rewards), len(rewards))


def always(rewards):
    return (rewards[:, None] > rewards).float()


def sigmoids_first(rewards):
    return rewards.sigmoid()[:, None] - rewards.sigmoid()


def exponentials(rewards):
    powers = rewards.exp()
    return powers[:, None] / (powers[:, None] + powers)


def against_the_first(rewards):
    return (rewards - rewards[0]).sigmoid()


def four_always(rewards):
    apart = torch.zeros(4, 4)
    for i in range(4):
        for j in range(4):
            apart[i, j] = rewards[i % len(rewards)] - rewards[j % len(rewards)]
    return apart.sigmoid()


def centred_in_place(rewards):
    rewards -= rewards.mean()
    return (rewards[:, None] - rewards).sigmoid()


def a_list(rewards):
    return (rewards[:, None] - rewards).sigmoid().tolist()


# Exercise 2


def picked(logits, ids):
    return logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1)


def not_shifted(logits, ids, written):
    return (picked(logits.log_softmax(dim=-1), ids) * written).sum(dim=1)


def marks_left_behind(logits, ids, written):
    logs = logits[:, :-1].log_softmax(dim=-1)
    return (picked(logs, ids[:, 1:]) * written[:, :-1]).sum(dim=1)


def with_the_prompt(logits, ids, written):
    return picked(logits[:, :-1].log_softmax(dim=-1), ids[:, 1:]).sum(dim=1)


def right_sum(logits, ids, written):
    logs = picked(logits[:, :-1].log_softmax(dim=-1), ids[:, 1:])
    return (logs * written[:, 1:]).sum(dim=1)


def the_mean(logits, ids, written):
    return right_sum(logits, ids, written) / written.sum(dim=1)


def a_loss(logits, ids, written):
    return -right_sum(logits, ids, written)


def logits_only(logits, ids, written):
    return (picked(logits[:, :-1], ids[:, 1:]) * written[:, 1:]).sum(dim=1)


def probabilities(logits, ids, written):
    p = picked(logits[:, :-1].softmax(dim=-1), ids[:, 1:])
    return (p * written[:, 1:]).sum(dim=1)


def over_the_rows(logits, ids, written):
    logs = picked(logits.log_softmax(dim=1)[:, :-1], ids[:, 1:])
    return (logs * written[:, 1:]).sum(dim=1)


def one_number(logits, ids, written):
    return right_sum(logits, ids, written).sum()


def cut_off(logits, ids, written):
    return right_sum(logits.detach(), ids, written)


def cleared_in_place(logits, ids, written):
    ids[~written] = 0
    return right_sum(logits, ids, written)


def from_the_fourth_on(logits, ids, written):
    logs = picked(logits[:, :-1].log_softmax(dim=-1), ids[:, 1:])
    return logs[:, 2:].sum(dim=1)


def softmax_and_log(logits, ids, written):
    logs = picked(logits[:, :-1].softmax(dim=-1).log(), ids[:, 1:])
    return logs.masked_fill(~written[:, 1:], 0.0).sum(dim=1)


def squeezed(logits, ids, written):
    logs = logits[:, :-1].log_softmax(dim=-1).gather(-1, ids[:, 1:, None])
    return (logs.squeeze() * written[:, 1:]).sum(dim=-1)


# Exercise 3


def losses(moved, away, beta):
    return -F.logsigmoid(beta * (moved - away))


def swapped(chosen, rejected, reference_chosen, reference_rejected, beta):
    return losses(rejected - reference_rejected, chosen - reference_chosen, beta)


def a_gain(chosen, rejected, reference_chosen, reference_rejected, beta):
    return -losses(chosen - reference_chosen, rejected - reference_rejected, beta)


def beta_forgotten(chosen, rejected, reference_chosen, reference_rejected, beta):
    return losses(chosen - reference_chosen, rejected - reference_rejected, 1.0)


def beta_of_the_page(chosen, rejected, reference_chosen, reference_rejected, beta):
    return losses(chosen - reference_chosen, rejected - reference_rejected, 0.1)


def beta_outside(chosen, rejected, reference_chosen, reference_rejected, beta):
    return beta * losses(chosen - reference_chosen, rejected - reference_rejected, 1.0)


def beta_divides(chosen, rejected, reference_chosen, reference_rejected, beta):
    away = rejected - reference_rejected
    return losses(chosen - reference_chosen, away, 1 / beta)


def no_reference(chosen, rejected, reference_chosen, reference_rejected, beta):
    return losses(chosen, rejected, beta)


def added(chosen, rejected, reference_chosen, reference_rejected, beta):
    return losses(chosen - reference_chosen, reference_rejected - rejected, beta)


def a_probability(chosen, rejected, reference_chosen, reference_rejected, beta):
    margin = chosen - reference_chosen - rejected + reference_rejected
    return (beta * margin).sigmoid()


def the_mean_loss(chosen, rejected, reference_chosen, reference_rejected, beta):
    each = losses(chosen - reference_chosen, rejected - reference_rejected, beta)
    return each.mean()


def overflows(chosen, rejected, reference_chosen, reference_rejected, beta):
    margin = chosen - reference_chosen - rejected + reference_rejected
    return -(beta * margin).sigmoid().log()


def without_gradient(chosen, rejected, reference_chosen, reference_rejected, beta):
    with torch.no_grad():
        away = rejected - reference_rejected
        return losses(chosen - reference_chosen, away, beta)


def half_gradient(chosen, rejected, reference_chosen, reference_rejected, beta):
    away = rejected.detach() - reference_rejected
    return losses(chosen - reference_chosen, away, beta)


def moved_in_place(chosen, rejected, reference_chosen, reference_rejected, beta):
    reference_chosen -= reference_rejected
    return losses(chosen - rejected, reference_chosen, beta)


# Exercise 4


def rows(pair, length):
    prompt, *both = pair
    return [(list(prompt) + list(each))[:length] for each in both]


def keep(pairs, condition):
    kept = [pair for pair in pairs if condition(pair)]
    return kept, len(pairs) - len(kept)


def right_kept(pairs, max_length):
    return keep(pairs, lambda pair: len({*map(tuple, rows(pair, max_length))}) == 2)


def before_the_cut(pairs, max_length):
    return keep(pairs, lambda pair: pair[1] != pair[2])


def answers_cut_alone(pairs, max_length):
    return keep(pairs, lambda pair: pair[1][:max_length] != pair[2][:max_length])


def equal_ones(pairs, max_length):
    return keep(pairs, lambda pair: len({*map(tuple, rows(pair, max_length))}) == 1)


def one_too_few(pairs, max_length):
    return right_kept(pairs, max_length - 1)


def one_too_many(pairs, max_length):
    return right_kept(pairs, max_length + 1)


def cut_pairs(pairs, max_length):
    kept, number = right_kept(pairs, max_length)
    return [(p, a[:max_length], b[:max_length]) for p, a, b in kept], number


def all_of_them(pairs, max_length):
    return list(pairs), 0


def number_kept(pairs, max_length):
    kept, _ = right_kept(pairs, max_length)
    return kept, len(kept)


def no_number(pairs, max_length):
    return right_kept(pairs, max_length)[0]


def in_place(pairs, max_length):
    before = len(pairs)
    for pair in right_kept(pairs, max_length)[0]:
        pairs.remove(pair)
    return pairs, before - len(pairs)


def once_only(pairs, max_length):
    kept, number = right_kept(pairs, max_length)
    return [p for i, p in enumerate(kept) if p not in kept[:i]], number


def other_lengths_only(pairs, max_length):
    def differ(pair):
        both = rows(pair, max_length)
        return any(a != b for a, b in zip(*both))

    return keep(pairs, differ)


def as_texts(pairs, max_length):
    def text(row):
        return "".join(map(str, row))

    return keep(pairs, lambda pair: len({*map(text, rows(pair, max_length))}) == 2)


def filled_up(pairs, max_length):
    def filled(row):
        return (*row, *[0] * (max_length - len(row)))

    return keep(pairs, lambda pair: len({*map(filled, rows(pair, max_length))}) == 2)


def rest_of_the_answer(pairs, max_length):
    def differ(pair):
        room = max_length - len(pair[0])
        return pair[1][:room] != pair[2][:room]

    return keep(pairs, differ)


def a_share(pairs, max_length):
    kept, number = right_kept(pairs, max_length)
    return kept, number / max(1, len(pairs))


WRONG = {
    "check_win_table": [
        (columns_for_rows, "i beating j"),
        (differences, "sigmoid makes a probability"),
        (nobody_meets_himself, "one half"),
        (softmax_of_all, "here two meet"),
        (always, "not always"),
        (sigmoids_first, "not their sigmoids"),
        (exponentials, "must not overflow"),
        (against_the_first, "must have the shape"),
        (four_always, "must have the shape"),
        (centred_in_place, "changed `rewards` itself"),
        (a_list, "must be a tensor"),
    ],
    "check_answer_sums": [
        (not_shifted, "about token t + 1"),
        (marks_left_behind, "move together"),
        (with_the_prompt, "do not count"),
        (the_mean, "the sum was asked for"),
        (a_loss, "sign of a loss"),
        (logits_only, "log-softmax first"),
        (probabilities, "take their logarithms"),
        (over_the_rows, "over the vocabulary"),
        (one_number, "must have the shape"),
        (cut_off, "nothing would learn"),
        (cleared_in_place, "changed `ids` itself"),
        (from_the_fourth_on, "the marks, and a sum"),
        (softmax_and_log, "Use log_softmax"),
        (squeezed, "the marks, and a sum"),
    ],
    "check_pair_losses": [
        (swapped, "are swapped"),
        (a_gain, "minus the logarithm"),
        (beta_forgotten, "beta is missing"),
        (beta_of_the_page, "beta times margin"),
        (beta_outside, "inside of the sigmoid"),
        (beta_divides, "beta multiplies"),
        (no_reference, "reference is missing"),
        (added, "subtract it"),
        (a_probability, "minus its logarithm"),
        (the_mean_loss, "must have the shape"),
        (overflows, "not infinity"),
        (without_gradient, "nothing would learn"),
        (half_gradient, "nothing would learn"),
        (moved_in_place, "changed `reference_chosen` itself"),
    ],
    "check_drop_equal": [
        (before_the_cut, "after the cut"),
        (answers_cut_alone, "takes room too"),
        (equal_ones, "kept the equal ones"),
        (one_too_few, "One id too few"),
        (one_too_many, "One id too many"),
        (cut_pairs, "uncut"),
        (all_of_them, "leave them out"),
        (number_kept, "pairs were left out; you say"),
        (no_number, "Return a tuple of two"),
        (in_place, "changed `pairs` itself"),
        (once_only, "come twice"),
        (other_lengths_only, "is missing: its rows differ"),
        (as_texts, "is missing: its rows differ"),
        (filled_up, "is missing: its rows differ"),
        (rest_of_the_answer, "counts from the end"),
        (a_share, "must be an int"),
    ],
}
