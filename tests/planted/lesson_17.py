"""Wrong answers to the exercises of lesson 17, which their checks must reject."""

import math

import torch


def losses(rows=True, steps=True, everywhere=False, least=1, rounded=round, late=False):
    """A count of losses with one mistake in it."""

    def count_losses(n_steps, batch_size, context_length, share):
        blanks = max(least, rounded(share * context_length))
        blanks = context_length if everywhere else blanks
        if late:
            return round(n_steps * batch_size * share * context_length)
        return (n_steps if steps else 1) * (batch_size if rows else 1) * blanks

    return count_losses


def count_as(kind):
    """The right count, not as an integer."""

    def count_losses(*sizes):
        return kind(losses()(*sizes))

    return count_losses


def never_all(n_steps, batch_size, context_length, share):
    blanks = min(context_length - 1, max(1, round(share * context_length)))
    return n_steps * batch_size * blanks


def corrupt_to_floats(ids, hidden, mask_id, vocab_size, generator=None):
    return corrupted()(ids, hidden, mask_id, vocab_size, generator).float()


def corrupt_at_least_one(ids, hidden, mask_id, vocab_size, generator=None):
    inputs = corrupted()(ids, hidden, mask_id, vocab_size, generator)
    if not (inputs == mask_id).any():
        inputs[0, 0] = mask_id
    return inputs


def corrupt_with_a_default_seed(ids, hidden, mask_id, vocab_size, generator=None):
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    return corrupted()(ids, hidden, mask_id, vocab_size, generator)


def corrupted(
    blank=0.8, random=0.1, twice=False, top=0, everywhere=False, generated=True,
    by_column=False, one_token=False,
):  # fmt: skip
    """The corruption of BERT with one mistake in it."""

    def corrupt(ids, hidden, mask_id, vocab_size, generator=None):
        generator = generator if generated else None
        shape = (1, ids.size(1)) if by_column else ids.shape
        draws = torch.rand(shape, generator=generator).expand(ids.shape)
        again = torch.rand(ids.shape, generator=generator)
        others = torch.randint(vocab_size + top, ids.shape, generator=generator)
        others = others[:1, :1].expand(ids.shape) if one_token else others
        hidden = torch.ones_like(hidden) if everywhere else hidden
        if twice:
            inputs = ids.masked_fill(hidden & (draws < blank), mask_id)
            return torch.where(hidden & (again < random), others, inputs)
        inputs = torch.where(hidden & (draws < blank + random), others, ids)
        return inputs.masked_fill(hidden & (draws < blank), mask_id)

    return corrupt


def corrupt_the_rest(ids, hidden, mask_id, vocab_size, generator=None):
    inputs = corrupted(random=0.0)(ids, hidden, mask_id, vocab_size, generator)
    rest = hidden & (inputs != mask_id)
    others = torch.randint(vocab_size, ids.shape, generator=generator)
    again = torch.rand(ids.shape, generator=generator)
    return torch.where(rest & (again < 0.1), others, inputs)


def corrupt_never_right(ids, hidden, mask_id, vocab_size, generator=None):
    draws = torch.rand(ids.shape, generator=generator)
    step = torch.randint(1, vocab_size, ids.shape, generator=generator)
    inputs = torch.where(hidden & (draws < 0.9), (ids + step) % vocab_size, ids)
    return inputs.masked_fill(hidden & (draws < 0.8), mask_id)


def corrupt_by_quota(ids, hidden, mask_id, vocab_size, generator=None):
    places = hidden.flatten().nonzero()[:, 0]
    n = len(places)
    places = places[torch.randperm(n, generator=generator)]
    inputs = ids.clone().flatten()
    inputs[places[: int(0.8 * n)]] = mask_id
    chosen = places[int(0.8 * n) : int(0.9 * n)]
    inputs[chosen] = torch.randint(vocab_size, chosen.shape, generator=generator)
    return inputs.view_as(ids)


def corrupt_from_ids(ids, hidden, mask_id, vocab_size, generator=None):
    draws = torch.rand(ids.shape, generator=generator)
    order = torch.randperm(ids.numel(), generator=generator)
    others = ids.flatten()[order].view_as(ids)
    inputs = torch.where(hidden & (draws < 0.9), others, ids)
    return inputs.masked_fill(hidden & (draws < 0.8), mask_id)


def corrupt_in_place(ids, hidden, mask_id, vocab_size, generator=None):
    ids[hidden] = mask_id
    return ids


def corrupt_with_a_fixed_seed(ids, hidden, mask_id, vocab_size, generator=None):
    fixed = torch.Generator().manual_seed(0)
    return corrupted()(ids, hidden, mask_id, vocab_size, fixed)


def filled(
    order="best", once=False, change=False, stop=0, logits=False, all_compete=False, n=1
):
    """Blanks filled one by one with one mistake in it."""

    def fill_in(model, ids):
        ids = ids if change else ids.clone()
        first = None
        while (ids == model.mask_id).sum() > stop:
            blank = ids == model.mask_id
            scores = model(ids[None])[0]
            best, tokens = (scores if logits else scores.softmax(-1)).max(-1)
            if once:
                return torch.where(blank, tokens, ids)
            first = best if first is None else first
            places = torch.arange(float(len(ids)))
            ranks = {"best": best, "worst": -best, "left": -places, "right": places}
            ranks["first look"] = first
            free = torch.ones_like(blank) if all_compete else blank
            ranked = ranks[order].masked_fill(~free, -torch.inf)
            places = ranked.topk(min(n, int(free.sum()))).indices
            ids[places] = tokens[places]
        return ids

    return fill_in


def filled_as(change):
    """The right filling, returned in another form."""

    def fill_in(model, ids):
        return change(filled()(model, ids))

    return fill_in


def fills_everything(model, ids):
    return model(ids[None])[0].argmax(-1)


def scored(hide="one", sign=1, form="log", dim=-1, best=False, total=False, step=0):
    """Scores of each token with one mistake in it."""

    def scores(model, ids):
        T = len(ids)
        places, copies = torch.arange(T), ids.repeat(T, 1)
        full = torch.ones(T, T, dtype=torch.bool)
        hidden = {"one": torch.eye(T).bool(), "none": ~full, "all": full}
        hidden["right"] = full.triu()
        logits = model(copies.masked_fill(hidden[hide], model.mask_id))[places, places]
        forms = {"log": logits.log_softmax(dim), "p": logits.softmax(dim)}
        forms["base 2"] = forms["log"] / math.log(2)
        table = (forms | {"logit": logits})[form]
        picked = table.max(-1).values if best else table[places, ids.roll(-step)]
        return sign * (picked.sum() if total else picked)

    return scores


def scores_as_a_list(model, ids):
    return scored()(model, ids).tolist()


WRONG = {
    "check_count_losses": [
        (losses(everywhere=True), "only the blanks count"),
        (losses(rows=False), "there are batch_size rows"),
        (losses(steps=False), "there are n_steps of them"),
        (losses(rounded=int), "not down"),
        (losses(rounded=math.ceil), "not up"),
        (count_as(float), "return an integer"),
        (count_as(torch.tensor), "return an integer"),
        (losses(least=0), "Even a short row has one blank"),
        (losses(late=True), "round for one row first"),
        (never_all, "all of a row is hidden"),
    ],
    "check_corrupt": [
        (corrupted(blank=1.0, random=0.0), "All of them became blanks"),
        (corrupted(random=0.0), "None became random"),
        (corrupted(random=0.2), "None stays as it is"),
        (corrupted(twice=True), "decide once for each place"),
        (corrupt_the_rest, "not of what is left"),
        (corrupted(blank=0.1, random=0.8), "The shares are swapped"),
        (corrupted(top=5), "it must be one of 0 to"),
        (corrupted(one_token=True), "Not all tokens come equally often"),
        (corrupted(everywhere=True), "not drawn has changed"),
        (corrupted(by_column=True), "each place must decide"),
        (corrupted(generated=False), "take every random number"),
        (corrupt_with_a_fixed_seed, "use `generator`"),
        (corrupt_never_right, "may happen to be the right one"),
        (corrupt_by_quota, "not fill a fixed number"),
        (corrupt_from_ids, "not from `ids`"),
        (corrupt_in_place, "work on a copy"),
        (corrupt_to_floats, "of the dtype torch.int64"),
        (corrupt_at_least_one, "nothing may change"),
        (corrupt_with_a_default_seed, "not a fixed seed"),
    ],
    "check_fill_in": [
        (filled(once=True), "all blanks at once"),
        (filled(order="left"), "from left to right"),
        (filled(order="right"), "from right to left"),
        (filled(order="worst"), "*least* certain"),
        (filled(order="first look"), "ask again after each blank"),
        (filled(logits=True), "not logits"),
        (filled(change=True), "work on a copy"),
        (filled(stop=1), "There are blanks left"),
        (filled(all_compete=True), "Only the blanks may compete"),
        (fills_everything, "A visible token has changed"),
        (filled(n=2), "one at a time"),
        (filled_as(lambda ids: ids.tolist()), "Return the filled ids"),
        (filled_as(lambda ids: ids.unsqueeze(0)), "Return the filled ids"),
        (filled_as(lambda ids: ids.float()), "have the dtype torch.float32"),
    ],
    "check_scores": [
        (scored(hide="none"), "Nothing was hidden"),
        (scored(hide="all"), "all tokens at once"),
        (scored(hide="right"), "to the right"),
        (scored(sign=-1), "without the minus"),
        (scored(form="p"), "take their logarithm"),
        (scored(form="base 2"), "to base 2"),
        (scored(form="logit"), "normalise them"),
        (scored(dim=0), "over the tokens"),
        (scored(best=True), "what stands there"),
        (scored(total=True), "one number for each"),
        (scored(step=1), "not for the next one"),
        (scores_as_a_list, "return a tensor"),
    ],
}
