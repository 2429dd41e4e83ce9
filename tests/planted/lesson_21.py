"""Wrong answers to the exercises of lesson 21, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_21.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import torch

from lib.moe import balance_loss

# Exercise 1


def table(p, n_active, renormalise=False):
    gates, chosen = p.topk(n_active, dim=-1)
    if renormalise:
        gates = gates / gates.sum(dim=-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, chosen, gates)


def softmax_after_the_choice(scores, n_active, renormalise=False):
    values, chosen = scores.topk(n_active, dim=-1)
    return torch.zeros_like(scores).scatter(-1, chosen, values.softmax(dim=-1))


def never_renormalised(scores, n_active, renormalise=False):
    return table(scores.softmax(dim=-1), n_active)


def renormalised_by_default(scores, n_active, renormalise=True):
    return table(scores.softmax(dim=-1), n_active, renormalise)


def scores_as_gates(scores, n_active, renormalise=False):
    _, chosen = scores.topk(n_active, dim=-1)
    return torch.zeros_like(scores).scatter(-1, chosen, scores.gather(-1, chosen))


def everybody(scores, n_active, renormalise=False):
    return scores.softmax(dim=-1)


def ones(scores, n_active, renormalise=False):
    return (table(scores.softmax(dim=-1), n_active) > 0).float()


def over_the_tokens(scores, n_active, renormalise=False):
    p = scores.softmax(dim=-1)
    return torch.where(table(p, n_active) > 0, scores.softmax(dim=0), 0.0)


def the_smallest(scores, n_active, renormalise=False):
    p = scores.softmax(dim=-1)
    gates, chosen = p.topk(n_active, dim=-1, largest=False)
    return torch.zeros_like(p).scatter(-1, chosen, gates)


def in_the_first_columns(scores, n_active, renormalise=False):
    new = torch.zeros_like(scores)
    new[:, :n_active] = scores.softmax(dim=-1).topk(n_active).values
    return new


def softmax_twice(scores, n_active, renormalise=False):
    return table(scores.softmax(-1).softmax(-1), n_active, renormalise)


def gates_only(scores, n_active, renormalise=False):
    return scores.softmax(dim=-1).topk(n_active).values


def two_always(scores, n_active, renormalise=False):
    return table(scores.softmax(dim=-1), 2, renormalise)


def scores_masked_in_place(scores, n_active, renormalise=False):
    p = scores.softmax(dim=-1)
    scores[p < p.topk(n_active).values[:, -1:]] = 0.0
    return table(p, n_active, renormalise)


def a_pair(scores, n_active, renormalise=False):
    return scores.softmax(dim=-1).topk(n_active)


# Exercise 2


def totals(parts, per_choice=True, factor=True, mean=True):
    n_experts = parts[0][0].size(-1)
    counts = sum(c.flatten().bincount(minlength=n_experts) for _, c in parts)
    sums, n_tokens = sum(p.sum(dim=0) for p, _ in parts), sum(len(p) for p, _ in parts)
    n_choices = sum(c.numel() for _, c in parts) if per_choice else n_tokens
    loss = (counts / n_choices * sums).sum()
    return (n_experts if factor else 1) * loss / (n_tokens if mean else 1)


def mean_of_losses(parts):
    return sum(balance_loss(*part) for part in parts) / len(parts)


def weighted_mean_of_losses(parts):
    n_tokens = sum(len(p) for p, _ in parts)
    return sum(balance_loss(p, c) * len(p) for p, c in parts) / n_tokens


def sum_of_losses(parts):
    return sum(balance_loss(*part) for part in parts)


def first_part(parts):
    return balance_loss(*parts[0])


def by_tokens(parts):
    return totals(parts, per_choice=False)


def without_their_number(parts):
    return totals(parts, factor=False)


def not_a_mean(parts):
    return totals(parts, mean=False)


def parts_alike(parts):
    n_experts = parts[0][0].size(-1)
    f = [c.flatten().bincount(minlength=n_experts) / c.numel() for _, c in parts]
    means = torch.stack([p.mean(dim=0) for p, _ in parts]).mean(dim=0)
    return n_experts * (torch.stack(f).mean(dim=0) * means).sum()


def four_experts(parts):
    return 4 * totals(parts, factor=False)


def a_vector(parts):
    n_experts = parts[0][0].size(-1)
    return sum(c.flatten().bincount(minlength=n_experts) for _, c in parts)


def added_up_in_place(parts):
    first, _ = parts[0]
    right = totals(parts)
    first[0] += sum(p.sum(dim=0) for p, _ in parts)
    return right


def printed(parts):
    totals(parts)


# Exercise 3


def fitting(chosen, n_experts, capacity):
    taken, fits = [0] * n_experts, torch.zeros_like(chosen, dtype=torch.bool)
    for token, row in enumerate(chosen.tolist()):
        for slot, expert in enumerate(row):
            fits[token, slot] = taken[expert] < capacity
            taken[expert] += 1
    return fits


def mixed(stream, gates, chosen, experts, fits):
    new = torch.zeros_like(stream)
    for number, expert in enumerate(experts):
        tokens, slots = ((chosen == number) & fits).nonzero(as_tuple=True)
        gate = gates[tokens, slots].unsqueeze(-1)
        new.index_add_(0, tokens, gate * expert(stream[tokens]))
    return new


def residual_lost(stream, gates, chosen, experts, capacity):
    fits = fitting(chosen, len(experts), capacity)
    new = stream + mixed(stream, gates, chosen, experts, fits)
    return new * fits.any(dim=1, keepdim=True)


def no_residual(stream, gates, chosen, experts, capacity):
    fits = fitting(chosen, len(experts), capacity)
    return mixed(stream, gates, chosen, experts, fits)


def no_limit(stream, gates, chosen, experts, capacity):
    return stream + mixed(stream, gates, chosen, experts, chosen >= 0)


def no_gates(stream, gates, chosen, experts, capacity):
    fits = fitting(chosen, len(experts), capacity)
    return stream + mixed(stream, torch.ones_like(gates), chosen, experts, fits)


def last_come(stream, gates, chosen, experts, capacity):
    fits = fitting(chosen.flip(0), len(experts), capacity).flip(0)
    return stream + mixed(stream, gates, chosen, experts, fits)


def one_too_few(stream, gates, chosen, experts, capacity):
    fits = fitting(chosen, len(experts), capacity - 1)
    return stream + mixed(stream, gates, chosen, experts, fits)


def one_too_many(stream, gates, chosen, experts, capacity):
    fits = fitting(chosen, len(experts), capacity + 1)
    return stream + mixed(stream, gates, chosen, experts, fits)


def first_tokens_of_all(stream, gates, chosen, experts, capacity):
    fits = (torch.arange(len(stream)) < capacity).unsqueeze(1).expand_as(chosen)
    return stream + mixed(stream, gates, chosen, experts, fits)


def all_or_nothing(stream, gates, chosen, experts, capacity):
    fits = fitting(chosen, len(experts), capacity)
    fits = fits & fits.all(dim=1, keepdim=True)
    return stream + mixed(stream, gates, chosen, experts, fits)


def renormalised(stream, gates, chosen, experts, capacity):
    fits = fitting(chosen, len(experts), capacity)
    total = (gates * fits).sum(dim=1, keepdim=True).clamp(min=1e-9)
    return stream + mixed(stream, gates / total, chosen, experts, fits)


def first_choice_only(stream, gates, chosen, experts, capacity):
    fits = fitting(chosen, len(experts), capacity)
    fits[:, 1:] = False
    return stream + mixed(stream, gates, chosen, experts, fits)


def into_the_stream(stream, gates, chosen, experts, capacity):
    fits = fitting(chosen, len(experts), capacity)
    stream += mixed(stream, gates, chosen, experts, fits)
    return stream


def one_after_the_other(stream, gates, chosen, experts, capacity):
    new, fits = stream.clone(), fitting(chosen, len(experts), capacity)
    for number, expert in enumerate(experts):
        tokens, slots = ((chosen == number) & fits).nonzero(as_tuple=True)
        gate = gates[tokens, slots].unsqueeze(-1)
        new.index_add_(0, tokens, gate * expert(new[tokens]))
    return new


def two_experts(stream, gates, chosen, experts, capacity):
    fits = fitting(chosen, len(experts), capacity)
    return stream + mixed(stream, gates, chosen, experts[:2], fits)


def joined(parts):
    p, chosen = (torch.cat(tensors) for tensors in zip(*parts))
    return balance_loss(p, chosen)


def pooled(parts, of=lambda p, chosen: chosen):
    n_experts = parts[0][0].size(-1)
    chosen = [of(*part) for part in parts]
    counts = sum(c.flatten().bincount(minlength=n_experts) for c in chosen)
    sums = sum(p.sum(dim=0) for p, _ in parts)
    return n_experts * (counts / counts.sum() * sums).sum() / sum(map(len, chosen))


def as_a_number(parts):
    return pooled(parts).item()


def likeliest(parts):
    """Takes the choice for granted."""
    return pooled(parts, lambda p, chosen: p.topk(chosen.size(-1)).indices)


def every_row(stream, gates, chosen, experts, capacity):
    new = stream.clone()
    for number, expert in enumerate(experts):
        tokens, slots = (chosen == number).nonzero(as_tuple=True)
        tokens, slots = tokens[:capacity], slots[:capacity]
        new[tokens] += gates[tokens, slots].unsqueeze(-1) * expert(stream)[tokens]
    return new


def cut_off(stream, gates, chosen, experts, capacity):
    new = stream.detach().clone()
    for number, expert in enumerate(experts):
        tokens, slots = (chosen == number).nonzero(as_tuple=True)
        tokens, slots = tokens[:capacity], slots[:capacity]
        new[tokens] += gates[tokens, slots].unsqueeze(-1) * expert(stream[tokens])
    return new


WRONG = {
    "check_gate_table": [
        (softmax_after_the_choice, "before the choice"),
        (never_renormalised, "sum to 1"),
        (renormalised_by_default, "not renormalised"),
        (scores_as_gates, "gates are probabilities"),
        (everybody, "a gate of 0"),
        (ones, "how likely"),
        (over_the_tokens, "over the experts"),
        (the_smallest, "takes the largest"),
        (in_the_first_columns, "the experts' places"),
        (softmax_twice, "once"),
        (gates_only, "must have the shape"),
        (two_always, "back to their places"),
        (scores_masked_in_place, "changed `scores` itself"),
        (a_pair, "must be a tensor"),
    ],
    "check_whole_balance": [
        (mean_of_losses, "mean of the parts' losses"),
        (weighted_mean_of_losses, "weighted mean of the parts' losses"),
        (sum_of_losses, "sum of the parts' losses"),
        (first_part, "the first part"),
        (by_tokens, "K choices"),
        (without_their_number, "is missing"),
        (not_a_mean, "P is a mean"),
        (parts_alike, "a longer one counts more"),
        (joined, "Do not join the tensors"),
        (as_a_number, "has no gradient"),
        (likeliest, "With parts of"),
        (four_experts, "add up first"),
        (a_vector, "must be a number"),
        (added_up_in_place, "changed `probabilities` itself"),
        (printed, "is a `return` missing"),
    ],
    "check_limited": [
        (residual_lost, "keep their stream"),
        (every_row, "it has places for"),
        (cut_off, "nothing would learn"),
        (no_residual, "The residual is missing"),
        (no_limit, "more than `capacity`"),
        (no_gates, "by its gate"),
        (last_come, "keep the first"),
        (one_too_few, "One token too few"),
        (one_too_many, "One token too many"),
        (first_tokens_of_all, "places of its own"),
        (all_or_nothing, "also if another does not"),
        (renormalised, "Gates stay as they are"),
        (first_choice_only, "not only the first"),
        (into_the_stream, "changed `stream` itself"),
        (one_after_the_other, "the first tokens of each expert"),
        (two_experts, "the first tokens of each expert"),
    ],
}
