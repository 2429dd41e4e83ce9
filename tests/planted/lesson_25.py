"""Wrong answers to the exercises of lesson 25, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_25.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import re

import torch

# Exercise 1


def right_text(prompt):
    a, b = prompt[:-1].split("-")
    return f"{int(a) - int(b)}."


def last(answer):
    return answer.split(">")[-1]


def anywhere(prompt, answer):
    return float(right_text(prompt) in answer)


def at_the_end(prompt, answer):
    return float(answer.endswith(right_text(prompt)))


def cut_in_the_middle(prompt, answer):
    half = (len(prompt) - 2) // 2
    a, b = prompt[:half], prompt[half + 1 : -1]
    return float(last(answer) == f"{int(a or 0) - int(b.strip('-') or 0)}.")


def in_one_line(prompt, answer):
    pattern = r"(?:[^.\n]*>)?" + re.escape(right_text(prompt))
    return float(bool(re.fullmatch(pattern, answer)))


def short_ones_only(prompt, answer):
    return float(whole(prompt, answer) and len(answer) < 40)


def two_marks_at_most(prompt, answer):
    return float(whole(prompt, answer) and answer.count(">") <= 2)


def whole(prompt, answer):
    return answer.count(".") == 1 and last(answer) == right_text(prompt)


def as_an_integer(prompt, answer):
    try:
        return float(int(last(answer).rstrip(".")) == int(right_text(prompt)[:-1]))
    except ValueError:
        return 0.0


def that_raises(prompt, answer):
    body = answer[: answer.index(".")]
    rest = answer[len(body) + 1 :]
    return float(not rest and last(body) + "." == right_text(prompt))


def stripped(prompt, answer):
    body, stop, rest = answer.strip().partition(".")
    return float(not rest and last(body) + stop == right_text(prompt))


def without_signs(prompt, answer):
    body, stop, rest = answer.partition(".")
    result = last(body).replace("-", "") + stop
    return float(not rest and result == right_text(prompt).replace("-", ""))


def first_mark(prompt, answer):
    body, stop, rest = answer.partition(".")
    parts = body.split(">")
    result = parts[1] if len(parts) > 1 else parts[0]
    return float(not rest and result + stop == right_text(prompt))


def up_to_the_stop(prompt, answer):
    return float(last(answer.split(".")[0]) + "." == right_text(prompt))


def whole_answers_only(prompt, answer):
    return float(answer == right_text(prompt))


def two_digits_only(prompt, answer):
    body, stop, rest = answer.partition(".")
    result = int(prompt[:2]) - int(prompt[3:5])
    return float(not rest and last(body) + stop == f"{result}.")


def as_a_bool(prompt, answer):
    body, stop, rest = answer.partition(".")
    return int(not rest and last(body) + stop == right_text(prompt))


def half_for_the_form(prompt, answer):
    body, stop, rest = answer.partition(".")
    right = not rest and last(body) + stop == right_text(prompt)
    return 1.0 if right else 0.5 * (stop == "." and not rest)


# Exercise 2


def by_group(rewards, groups, of):
    result = torch.zeros_like(rewards)
    for group in groups.unique():
        own = groups == group
        result[own] = of(rewards[own])
    return result


def one_of(r, method, small=1e-4):
    apart = r - r.mean()
    if method == "reinforce":
        return r
    if method == "rloo":
        return apart * len(r) / (len(r) - 1)
    return apart if method == "dr_grpo" else apart / (r.std() + small)


def ten_thousandth(rewards, groups, method, small=1e-4):
    return by_group(rewards, groups, lambda r: one_of(r, method))


def under_the_root(rewards, groups, method, small=1e-4):
    def of(r):
        root = (r.var() + small).sqrt()
        return (r - r.mean()) / root if method == "grpo" else one_of(r, method)

    return by_group(rewards, groups, of)


def over_all(rewards, groups, method):
    return one_of(rewards, method)


def always_centred(rewards, groups, method):
    method = "dr_grpo" if method == "reinforce" else method
    return by_group(rewards, groups, lambda r: one_of(r, method))


def never_centred(rewards, groups, method):
    return rewards


def itself_included(rewards, groups, method):
    method = "dr_grpo" if method == "rloo" else method
    return by_group(rewards, groups, lambda r: one_of(r, method))


def never_divided(rewards, groups, method):
    method = "dr_grpo" if method == "grpo" else method
    return by_group(rewards, groups, lambda r: one_of(r, method))


def divided_always(rewards, groups, method):
    method = "grpo" if method == "dr_grpo" else method
    return by_group(rewards, groups, lambda r: one_of(r, method))


def biased(rewards, groups, method):
    def of(r):
        if method != "grpo":
            return one_of(r, method)
        return (r - r.mean()) / (r.std(unbiased=False) + 1e-4)

    return by_group(rewards, groups, of)


def by_the_variance(rewards, groups, method):
    def of(r):
        return (
            (r - r.mean()) / (r.var() + 1e-4) if method == "grpo" else one_of(r, method)
        )

    return by_group(rewards, groups, of)


def factor_upside_down(rewards, groups, method):
    def of(r):
        apart = r - r.mean()
        return (
            apart * (len(r) - 1) / len(r) if method == "rloo" else one_of(r, method)
        )

    return by_group(rewards, groups, of)


def factor_of_the_batch(rewards, groups, method):
    n = len(rewards)

    def of(r):
        return (r - r.mean()) * n / (n - 1) if method == "rloo" else one_of(r, method)

    return by_group(rewards, groups, of)


def in_the_order_of_groups(rewards, groups, method):
    rows = [one_of(rewards[groups == g], method) for g in groups.unique()]
    return torch.cat(rows)


def groups_of_four(rewards, groups, method):
    if len(rewards) % 4:
        return torch.zeros_like(rewards)
    return torch.cat([one_of(r, method) for r in rewards.view(-1, 4)])


def numbered_from_0(rewards, groups, method):
    result = torch.zeros_like(rewards)
    for group in range(len(groups.unique())):
        own = groups == group
        if own.any():
            result[own] = one_of(rewards[own], method)
    return result


def in_place(rewards, groups, method):
    for group in groups.unique():
        rewards[groups == group] = one_of(rewards[groups == group], method)
    return rewards


def without_an_epsilon(rewards, groups, method):
    return by_group(rewards, groups, lambda r: one_of(r, method, small=0.0))


def a_list(rewards, groups, method):
    return by_group(rewards, groups, lambda r: one_of(r, method)).tolist()


# Exercise 3


def gains(new, old, advantages, clip):
    ratio, a = (new - old).exp(), advantages.unsqueeze(-1)
    return torch.minimum(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)


def averaged(values, written):
    return (torch.where(written, values, 0.0).sum(1) / written.sum(1)).mean()


def safe(new, old, written):
    return torch.where(written, new, old)


def no_minus(new, old, advantages, written, clip):
    return averaged(gains(safe(new, old, written), old, advantages, clip), written)


def larger_of_both(new, old, advantages, written, clip):
    new = safe(new, old, written)
    ratio, a = (new - old).exp(), advantages.unsqueeze(-1)
    both = torch.maximum(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)
    return -averaged(both, written)


def clipped_alone(new, old, advantages, written, clip):
    ratio = (safe(new, old, written) - old).exp().clamp(1 - clip, 1 + clip)
    return -averaged(ratio * advantages.unsqueeze(-1), written)


def not_clipped(new, old, advantages, written, clip):
    ratio = (safe(new, old, written) - old).exp()
    return -averaged(ratio * advantages.unsqueeze(-1), written)


def smaller_ratio_first(new, old, advantages, written, clip):
    ratio = (safe(new, old, written) - old).exp()
    ratio = torch.minimum(ratio, ratio.clamp(1 - clip, 1 + clip))
    return -averaged(ratio * advantages.unsqueeze(-1), written)


def over_the_width(new, old, advantages, written, clip):
    kept = gains(safe(new, old, written), old, advantages, clip)
    return -(kept * written).mean()


def over_all_tokens(new, old, advantages, written, clip):
    kept = gains(safe(new, old, written), old, advantages, clip)
    return -kept[written].mean()


def sum_over_answers(new, old, advantages, written, clip):
    kept = gains(safe(new, old, written), old, advantages, clip)
    return -(kept * written).sum(dim=1).mean()


def filling_too(new, old, advantages, written, clip):
    return -gains(new, old, advantages, clip).mean()


def times_the_mask(new, old, advantages, written, clip):
    kept = gains(new, old, advantages, clip) * written
    return -(kept.sum(dim=1) / written.sum(dim=1)).mean()


def only_inf_is_safe(new, old, advantages, written, clip):
    apart = torch.where(new.isinf(), 0.0, new) - torch.where(old.isinf(), 0.0, old)
    kept = gains(apart, torch.zeros_like(apart), advantages, clip)
    return -averaged(kept, written)


def masked_afterwards(new, old, advantages, written, clip):
    return -averaged(gains(new, old, advantages, clip), written)


def clip_of_two_tenths(new, old, advantages, written, clip):
    return -averaged(gains(safe(new, old, written), old, advantages, 0.2), written)


def as_a_number(new, old, advantages, written, clip):
    kept = gains(safe(new, old, written), old, advantages, clip)
    return -averaged(kept, written).item()


def without_a_gradient(new, old, advantages, written, clip):
    kept = gains(safe(new, old, written).detach(), old, advantages, clip)
    return -averaged(kept, written)


def filled_in_place(new, old, advantages, written, clip):
    with torch.no_grad():
        new[~written] = 0.0
    return -averaged(gains(safe(new, old, written), old, advantages, clip), written)


def one_for_each_answer(new, old, advantages, written, clip):
    kept = gains(safe(new, old, written), old, advantages, clip)
    return -torch.where(written, kept, 0.0).sum(1) / written.sum(1)


# Exercise 4


def k3(new, reference):
    return torch.expm1(reference - new) - (reference - new)


def swapped(new, reference, written):
    return k3(reference, new)[written].mean()


def everywhere(new, reference, written):
    return k3(new, reference).mean()


def over_the_padded_width(new, reference, written):
    return (k3(new, reference) * written).mean()


def summed(new, reference, written):
    return k3(new, reference)[written].sum()


def plain_difference(new, reference, written):
    return (new - reference)[written].mean()


def half_a_square(new, reference, written):
    return ((new - reference) ** 2 / 2)[written].mean()


def each_row_first(new, reference, written):
    return ((k3(new, reference) * written).sum(1) / written.sum(1)).mean()


def that_cancels(new, reference, written):
    d = (reference - new)[written]
    return (d.exp() - 1 - d).mean()


def without_the_1(new, reference, written):
    d = (reference - new)[written]
    return (d.exp() - d).mean()


def a_float(new, reference, written):
    return k3(new, reference)[written].mean().item()


def cut_off(new, reference, written):
    return k3(new.detach(), reference)[written].mean()


def zeros_in_place(new, reference, written):
    reference[~written] = 0.0
    return k3(new, reference)[written].mean()


def per_token(new, reference, written):
    return k3(new, reference)[written]


WRONG = {
    "check_verifier": [
        (anywhere, "must get 0"),
        (cut_in_the_middle, "must get"),
        (in_one_line, "new lines too"),
        (short_ones_only, "long texts too"),
        (two_marks_at_most, "last* `>` does not matter"),
        (at_the_end, "must get 0"),
        (as_an_integer, "must get 0"),
        (that_raises, "raised ValueError"),
        (stripped, "must get 0"),
        (without_signs, "Without its sign"),
        (first_mark, "must get 1"),
        (up_to_the_stop, "must get 0"),
        (whole_answers_only, "does not matter"),
        (two_digits_only, "must get 1"),
        (as_a_bool, "a Python float"),
        (half_for_the_form, "must get 0"),
    ],
    "check_advantages": [
        (over_all, "to the same prompt"),
        (ten_thousandth, "use the argument"),
        (under_the_root, "not under its root"),
        (always_centred, "REINFORCE takes nothing away"),
        (never_centred, "These are the rewards"),
        (itself_included, "leaves the answer itself out"),
        (never_divided, "Divide by the standard deviation"),
        (divided_always, "only GRPO does"),
        (biased, "standard deviation of samples"),
        (by_the_variance, "take its root"),
        (factor_upside_down, "not its inverse"),
        (factor_of_the_batch, "its own size"),
        (in_the_order_of_groups, "in the order of the groups"),
        (groups_of_four, "one group at a time"),
        (numbered_from_0, "one group at a time"),
        (in_place, "changed `rewards` itself"),
        (without_an_epsilon, "Add 1e-4"),
        (a_list, "must be a tensor"),
    ],
    "check_policy_loss": [
        (no_minus, "the minus is missing"),
        (larger_of_both, "the smaller of both gains"),
        (clipped_alone, "The clipped gain alone"),
        (not_clipped, "Nothing is clipped"),
        (smaller_ratio_first, "before you take the smaller"),
        (over_the_width, "over the padded width"),
        (over_all_tokens, "long answers count more"),
        (sum_over_answers, "Divide by the length"),
        (filling_too, "Filling and prompt count"),
        (times_the_mask, "Filling must not matter"),
        (masked_afterwards, "not finite"),
        (only_inf_is_safe, "not finite"),
        (clip_of_two_tenths, "The smaller of both gains at each token"),
        (as_a_number, "without its gradient"),
        (without_a_gradient, "without its gradient"),
        (filled_in_place, "changed `new` itself"),
        (one_for_each_answer, "must be a number"),
    ],
    "check_kl": [
        (swapped, "swapped new and reference"),
        (everywhere, "Filling and prompt count"),
        (over_the_padded_width, "not by the width"),
        (summed, "take the mean"),
        (plain_difference, "some of it is negative"),
        (half_a_square, "only nearly right"),
        (each_row_first, "Mean over each row first"),
        (that_cancels, "torch.expm1"),
        (without_the_1, "The 1 is missing"),
        (a_float, "without its gradient"),
        (cut_off, "without its gradient"),
        (zeros_in_place, "changed `reference` itself"),
        (per_token, "must be a number"),
    ],
}
