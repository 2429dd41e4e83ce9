"""Wrong answers to the exercises of lesson 28, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_28.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import torch

# Exercise 1


def last_run(own):
    end = len(own)
    while end and not own[end - 1]:
        end -= 1
    start = end
    while start and own[start - 1]:
        start -= 1
    return start, end


def everything(own):
    return list(own)


def first_answer(own):
    start, end = last_run(own[::-1])
    return [len(own) - end <= i < len(own) - start and m for i, m in enumerate(own)]


def without_the_stop(own):
    start, end = last_run(own)
    return [start <= i < end - 1 for i in range(len(own))]


def only_at_the_end(own):
    start = len(own)
    while start and own[start - 1]:
        start -= 1
    return [i >= start for i in range(len(own))]


def from_the_first_on(own):
    return [any(own[: i + 1]) and any(own[i:]) for i in range(len(own))]


def one_token_early(own):
    start, end = last_run(own)
    return [start - 1 <= i < end for i in range(len(own))]


def cut_off(own):
    start, end = last_run(own)
    return own[start:end]


def in_place(own):
    start, _ = last_run(own)
    for i in range(start):
        own[i] = False
    return own


def numbers(own):
    start, end = last_run(own)
    return [int(start <= i < end) for i in range(len(own))]


def a_tensor(own):
    start, end = last_run(own)
    return torch.tensor([start <= i < end for i in range(len(own))])


# Exercise 2


def right_stream(ids, end_id):
    is_end = (ids == end_id).long()
    documents = is_end.cumsum(dim=1) - is_end
    places = torch.arange(ids.size(1)).expand_as(ids)
    starts = torch.zeros_like(ids)
    starts[:, 1:] = (is_end * (places + 1))[:, :-1].cummax(dim=1).values
    return documents, places - starts


def end_opens(ids, end_id):
    return (ids == end_id).cumsum(dim=1), right_stream(ids, end_id)[1]


def rows_go_on(ids, end_id):
    flat = right_stream(ids.view(1, -1), end_id)
    return tuple(each.view(ids.shape) for each in flat)


def positions_go_on(ids, end_id):
    places = torch.arange(ids.size(1)).expand_as(ids)
    return right_stream(ids, end_id)[0], places


def positions_from_one(ids, end_id):
    documents, positions = right_stream(ids, end_id)
    return documents, positions + 1


def documents_from_one(ids, end_id):
    documents, positions = right_stream(ids, end_id)
    return documents + 1, positions


def swapped(ids, end_id):
    return right_stream(ids, end_id)[::-1]


def end_is_zero(ids, end_id):
    return right_stream(ids, 0)


def down_the_columns(ids, end_id):
    is_end = (ids == end_id).long()
    return is_end.cumsum(dim=0) - is_end, right_stream(ids, end_id)[1]


def lists(ids, end_id):
    return tuple(each.tolist() for each in right_stream(ids, end_id))


def small_integers(ids, end_id):
    return tuple(each.to(torch.int16) for each in right_stream(ids, end_id))


def only_documents(ids, end_id):
    return right_stream(ids, end_id)[0]


def changes_ids(ids, end_id):
    found = right_stream(ids, end_id)
    ids[ids == end_id] = -1
    return found


def floats(ids, end_id):
    return tuple(each.float() for each in right_stream(ids, end_id))


# Exercise 3


def search(chance, start=1, step=1, enough=lambda p, least: p >= least, divides=True):
    def fewest_bands(similarity, n_hashes, least):
        numbers = range(1, n_hashes + 1)[start - 1 :: step]
        for b in numbers:
            if n_hashes % b == 0 or not divides:
                if enough(chance(similarity, b, n_hashes // b), least):
                    return b
        return None

    return fewest_bands


def usual(s, b, r):
    return 1 - (1 - s**r) ** b


def length_of_band(similarity, n_hashes, least):
    found = search(usual)(similarity, n_hashes, least)
    return None if found is None else n_hashes // found


def most_bands(similarity, n_hashes, least):
    for b in range(n_hashes, 0, -1):
        if n_hashes % b == 0 and usual(similarity, b, n_hashes // b) >= least:
            return b
    return None


def as_float(similarity, n_hashes, least):
    found = search(usual)(similarity, n_hashes, least)
    return None if found is None else float(found)


def all_if_none(similarity, n_hashes, least):
    return search(usual)(similarity, n_hashes, least) or n_hashes


def at_most_64(similarity, n_hashes, least):
    for b in range(1, min(n_hashes, 64) + 1):
        if n_hashes % b == 0 and usual(similarity, b, n_hashes // b) >= least:
            return b
    return None


def powers_of_two(similarity, n_hashes, least):
    b = 1
    while b <= n_hashes:
        if usual(similarity, b, n_hashes // b) >= least:
            return b
        b *= 2
    return None


WRONG = {
    "check_last_answer": [
        (everything, "All answers are still in it"),
        (first_answer, "That is the first answer"),
        (without_the_stop, "The stop, its last token"),
        (only_at_the_end, "may have tokens behind it"),
        (from_the_first_on, "Questions between two answers"),
        (one_token_early, "Keep the last run of True"),
        (cut_off, "one mark for each token"),
        (in_place, "changed the list `own` itself"),
        (numbers, "Return a list of True and False"),
        (a_tensor, "Return a list of True and False"),
    ],
    "check_stream": [
        (end_opens, "still belongs to the document that it ends"),
        (rows_go_on, "in each row they begin at 0"),
        (positions_go_on, "Positions start anew"),
        (positions_from_one, "not at 1"),
        (documents_from_one, "not from 1"),
        (swapped, "The documents of"),
        (end_is_zero, "The documents of"),
        (down_the_columns, "`dim=1`"),
        (lists, "must be a tensor"),
        (only_documents, "Return two tensors"),
        (changes_ids, "changed `ids` itself"),
        (floats, "are integers"),
        (small_integers, "have the type int64"),
    ],
    "check_fewest_bands": [
        (search(lambda s, b, r: 1 - (1 - s**b) ** r), "not"),
        (search(usual, divides=False), "do not divide"),
        (search(usual, enough=lambda p, least: p > least), "`least` itself"),
        (search(lambda s, b, r: (1 - s**r) ** b), "For similarity"),
        (search(lambda s, b, r: s**r), "For similarity"),
        (search(usual, enough=lambda p, least: p >= least - 1e-3), "it is 64"),
        (at_most_64, "did you try every divisor"),
        (length_of_band, "how long a band is"),
        (most_bands, "look for the smallest number"),
        (as_float, "an int"),
        (all_if_none, "return None"),
        (powers_of_two, "do not divide"),
    ],
}
