"""Wrong answers to the exercises of lesson 29, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_29.py, each with a few words of
the message that it must get. The right answers are the solutions.
"""

import math

import torch

# Exercise 1

HEAD = "### Question\n{}\n\n### Answer\n"


def template(question, answer, stop="\n\n"):
    given = HEAD.format(question)
    return given + answer + stop, [False] * len(given) + [True] * len(answer + stop)


def header_searched(question, answer):
    text, _ = template(question, answer)
    start = text.index("### Answer\n") + 11
    return text, [False] * start + [True] * (len(text) - start)


def question_stripped(question, answer):
    return template(question.strip(), answer)


def without_stop(question, answer):
    return template(question, answer, stop="")


def stop_not_marked(question, answer):
    text, own = template(question, answer)
    return text, own[:-2] + [False, False]


def one_sign_of_the_stop(question, answer):
    text, own = template(question, answer)
    return text, own[:-1] + [False]


def one_line_end(question, answer):
    return template(question, answer, stop="\n")


def moved(question, answer):
    text, own = template(question, answer)
    return text, own[1:] + [False]


def one_mark_short(question, answer):
    text, own = template(question, answer)
    return text, own[1:]


def all_marked(question, answer):
    text, own = template(question, answer)
    return text, [True] * len(own)


def question_marked(question, answer):
    text, own = template(question, answer)
    return text, [not mark for mark in own]


def opening_marked(question, answer):
    text, own = template(question, answer)
    start = text.index("### Answer")
    return text, [place >= start for place in range(len(own))]


def searched(question, answer):
    text, _ = template(question, answer)
    start = text.find(answer)
    end = start + len(answer)
    tail = len(text) - 2
    return text, [start <= i < end or i >= tail for i in range(len(text))]


def numbers(question, answer):
    text, own = template(question, answer)
    return text, [int(mark) for mark in own]


def a_tensor(question, answer):
    text, own = template(question, answer)
    return text, torch.tensor(own)


def stripped(question, answer):
    text, own = template(question, answer)
    return text.rstrip(), own[: len(text.rstrip())]


def text_only(question, answer):
    return template(question, answer)[0]


def printed_template(question, answer):
    template(question, answer)


def the_shown_row(question, answer):
    return template("Say hi.", "hi")


# Exercise 2


def batch(rows, pad=0, mark=False):
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in rows])
    own = torch.tensor([own + [mark] * (width - len(own)) for _, own in rows])
    return ids, own


def marks_not_moved(first, second):
    ids, own = batch((first, second))
    return ids[:, :-1], ids[:, 1:], own[:, :-1]


def filling_counts(first, second):
    ids, own = batch((first, second), mark=True)
    return ids[:, :-1], ids[:, 1:], own[:, 1:]


def all_but_zero(first, second):
    ids, own = batch((first, second))
    return ids[:, :-1], ids[:, 1:], own[:, 1:] & (ids[:, 1:] != 0)


def filled_before(first, second):
    width = max(len(first[0]), len(second[0]))
    ids = torch.tensor([[0] * (width - len(i)) + i for i, _ in (first, second)])
    own = torch.tensor([[False] * (width - len(o)) + o for _, o in (first, second)])
    return ids[:, :-1], ids[:, 1:], own[:, 1:]


def cut_to_the_shorter(first, second):
    width = min(len(first[0]), len(second[0]))
    ids = torch.tensor([i[:width] for i, _ in (first, second)])
    own = torch.tensor([o[:width] for _, o in (first, second)])
    return ids[:, :-1], ids[:, 1:], own[:, 1:]


def not_shifted(first, second):
    ids, own = batch((first, second))
    return ids, ids, own


def filled_with_minus_100(first, second):
    ids, own = batch((first, second), pad=-100)
    return ids[:, :-1], ids[:, 1:], own[:, 1:]


def filled_in_place(first, second):
    width = max(len(first[0]), len(second[0]))
    for ids, own in (first, second):
        ids.extend([0] * (width - len(ids)))
        own.extend([False] * (width - len(own)))
    ids, own = batch((first, second))
    return ids[:, :-1], ids[:, 1:], own[:, 1:]


def other_order(first, second):
    ids, own = batch((second, first))
    return ids[:, :-1], ids[:, 1:], own[:, 1:]


def marks_as_numbers(first, second):
    ids, own = batch((first, second))
    return ids[:, :-1], ids[:, 1:], own[:, 1:].long()


def ids_as_floats(first, second):
    ids, own = batch((first, second))
    return ids[:, :-1].float(), ids[:, 1:].float(), own[:, 1:]


def lists(first, second):
    ids, own = batch((first, second))
    return ids[:, :-1].tolist(), ids[:, 1:].tolist(), own[:, 1:].tolist()


def two_tensors(first, second):
    ids, own = batch((first, second))
    return ids, own


def for_three_tokens(first, second):
    ids, own = batch((first, second))
    return ids[:, :2], ids[:, 1:3], own[:, 1:3]


# Exercise 3


def stop_anywhere(answers, stop_id):
    ends = [stop_id in answer for answer in answers]
    lengths = [len(a) - (a[-1] == stop_id) for a in answers]
    return sum(ends) / len(answers), sum(lengths) / len(answers)


def stop_is_a_word(answers, stop_id):
    ends = [answer[-1] == stop_id for answer in answers]
    return sum(ends) / len(answers), sum(map(len, answers)) / len(answers)


def always_one_less(answers, stop_id):
    ends = [answer[-1] == stop_id for answer in answers]
    return sum(ends) / len(answers), sum(len(a) - 1 for a in answers) / len(answers)


def finished_only(answers, stop_id):
    done = [answer for answer in answers if answer[-1] == stop_id]
    mean = sum(len(a) - 1 for a in done) / max(len(done), 1)
    return len(done) / len(answers), mean


def all_stops_removed(answers, stop_id):
    ends = [answer[-1] == stop_id for answer in answers]
    lengths = [len(a) - a.count(stop_id) for a in answers]
    return sum(ends) / len(answers), sum(lengths) / len(answers)


def share_that_goes_on(answers, stop_id):
    rate, length = report(answers, stop_id)
    return 1 - rate, length


def report(answers, stop_id):
    ends = [answer[-1] == stop_id for answer in answers]
    lengths = [len(a) - end for a, end in zip(answers, ends)]
    return sum(ends) / len(answers), sum(lengths) / len(answers)


def sums(answers, stop_id):
    rate, length = report(answers, stop_id)
    return rate * len(answers), length * len(answers)


def share_of_tokens(answers, stop_id):
    n = sum(map(len, answers))
    return sum(a.count(stop_id) for a in answers) / n, report(answers, stop_id)[1]


def stop_is_zero(answers, stop_id):
    return report(answers, 0)


def popped(answers, stop_id):
    ends = [answer[-1] == stop_id for answer in answers]
    for answer, end in zip(answers, ends):
        if end:
            answer.pop()
    return sum(ends) / len(answers), sum(map(len, answers)) / len(answers)


def report_as_tensors(answers, stop_id):
    return tuple(torch.tensor(x) for x in report(answers, stop_id))


def rate_only(answers, stop_id):
    return report(answers, stop_id)[0]


def for_two_answers(answers, stop_id):
    rate, length = report(answers[:2], stop_id)
    return rate, length


# Exercise 4


def rounded_down(n_answers, width, percent):
    return percent * n_answers // ((100 - percent) * width)


def always_one_more(n_answers, width, percent):
    return percent * n_answers // ((100 - percent) * width) + 1


def share_of_answers(n_answers, width, percent):
    return math.ceil(percent * n_answers / (100 * width))


def targets_not_rows(n_answers, width, percent):
    return -(-percent * n_answers // (100 - percent))


def share_swapped(n_answers, width, percent):
    return math.ceil((100 - percent) * n_answers / (max(percent, 1) * width))


def a_float(n_answers, width, percent):
    return float(-(-percent * n_answers // ((100 - percent) * width)))


def not_rounded(n_answers, width, percent):
    return percent * n_answers / ((100 - percent) * width)


def nearest(n_answers, width, percent):
    return round(percent * n_answers / ((100 - percent) * width))


def at_least_one(n_answers, width, percent):
    return max(1, -(-percent * n_answers // ((100 - percent) * width)))


def half_always(n_answers, width, percent):
    return -(-n_answers // width)


def in_floats(n_answers, width, percent):
    share = percent / 100
    return math.ceil(share * n_answers / ((1 - share) * width))


def odds_in_floats(n_answers, width, percent):
    return math.ceil(n_answers * (percent / (100 - percent)) / width)


def printed_rows(n_answers, width, percent):
    -(-percent * n_answers // ((100 - percent) * width))


WRONG = {
    "check_marked": [
        (without_stop, "The stop is missing"),
        (stop_not_marked, "The stop is the model's to write, too"),
        (one_sign_of_the_stop, "The stop has two characters"),
        (one_line_end, "Follow the example"),
        (moved, "the marks are not moved"),
        (one_mark_short, "one mark for each"),
        (all_marked, "The question is not the model's"),
        (question_marked, "You marked the question"),
        (opening_marked, "What stands before the answer is given"),
        (searched, "Only the answer and its stop"),
        (header_searched, "the model does not write it"),
        (question_stripped, "The text must be"),
        (numbers, "must be True or False"),
        (a_tensor, "the marks a list"),
        (stripped, "The stop is missing"),
        (text_only, "must be a pair"),
        (printed_template, "returned None"),
        (the_shown_row, "The text must be"),
    ],
    "check_two_rows": [
        (marks_not_moved, "must move with the targets"),
        (filling_counts, "Filling counts in yours"),
        (all_but_zero, "A target counts if its own token is marked"),
        (filled_before, "stands at the end"),
        (cut_to_the_shorter, "cut nothing off"),
        (not_shifted, "Inputs lack the last token"),
        (filled_with_minus_100, "Follow the example"),
        (filled_in_place, "changes the rows"),
        (other_order, "keep their order"),
        (marks_as_numbers, "torch.bool"),
        (ids_as_floats, "torch.int64"),
        (lists, "must be a tensor"),
        (two_tensors, "three tensors"),
        (for_three_tokens, "must have the shape"),
    ],
    "check_stop_report": [
        (stop_anywhere, "look at its last token only"),
        (stop_is_a_word, "leave it out"),
        (always_one_less, "has no stop to leave out"),
        (finished_only, "take all"),
        (all_stops_removed, "a stop at the end only"),
        (share_that_goes_on, "that does not end"),
        (sums, "divide by how many"),
        (share_of_tokens, "count answers"),
        (stop_is_zero, "whose last token is the stop"),
        (popped, "changes the answers"),
        (report_as_tensors, "You return a tensor"),
        (rate_only, "must be a pair"),
        (for_two_answers, "the stop rate is"),
    ],
    "check_replay_rows": [
        (rounded_down, "Round up"),
        (always_one_more, "one too many"),
        (share_of_answers, "those of the replay included"),
        (targets_not_rows, "a row has `width`"),
        (share_swapped, "the answers this share"),
        (a_float, "a whole number, an int"),
        (not_rounded, "a whole number, an int"),
        (nearest, "Round up"),
        (at_least_one, "one too many"),
        (half_always, "it takes"),
        (in_floats, "compute in whole numbers"),
        (odds_in_floats, "one more row"),
        (printed_rows, "returned None"),
    ],
}
