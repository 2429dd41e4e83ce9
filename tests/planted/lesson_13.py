"""Wrong answers to the exercises of lesson 13, which their checks must reject.

`WRONG` has an entry for each check of lib/checks/lesson_13.py: six wrong answers or
more, each with a few words of the message that it must get. The right answers are the
solutions.
"""

import math

import torch


def sizes(descending: bool = True, ordered: bool = True, more: int = 1):
    """A nucleus size with one mistake in it."""

    def nucleus_size(probabilities, p):
        rows = probabilities
        if ordered:
            rows = rows.sort(dim=-1, descending=descending).values
        return (rows.cumsum(dim=-1) < p).sum(dim=-1) + more

    return nucleus_size


def sizes_beyond(probabilities, p):
    sums = probabilities.sort(dim=-1, descending=True).values.cumsum(dim=-1)
    return (sums <= p).sum(dim=-1) + 1


def min_p(bar=None, value=-math.inf, strict: bool = False, answer=None):
    """Min-p with one mistake in it."""

    def keep_min_p(logits, share):
        p = logits.softmax(dim=-1)
        level = (bar or largest)(p) * share
        drop = p <= level if strict else p < level
        return logits.masked_fill(drop, value) if answer is None else answer(p, drop)

    return keep_min_p


def largest(p):
    return p.max(dim=-1, keepdim=True).values


def min_p_of_logits(logits, share):
    return logits.masked_fill(logits < share * largest(logits), -math.inf)


def min_p_in_place(logits, share):
    p = logits.softmax(dim=-1)
    logits[p < share * largest(p)] = -math.inf
    return logits


def texts(
    both: int = 2,
    layers: bool = True,
    positions: bool = True,
    shared: bool = True,
    wide: bool = False,
    width: int | None = None,
    exact: bool = False,
):
    """A count of texts with one mistake in it."""

    def texts_that_fit(config, n_bytes, bytes_per_number):
        heads = (config.n_kv_heads or config.n_heads) if shared else config.n_heads
        numbers = both * heads * config.d_model // (1 if wide else config.n_heads)
        numbers *= config.n_layers if layers else 1
        numbers *= config.context_length if positions else 1
        one = numbers * (width or bytes_per_number)
        return n_bytes / one if exact else n_bytes // one

    return texts_that_fit


def writer(
    wait: bool = True,
    fill: bool = True,
    prompt: bool = False,
    end: bool = True,
    cached: bool = True,
    whole: bool = True,
    keep_stop: bool = True,
    first: bool = False,
):
    """Writing until a stop, with one mistake in it."""

    @torch.no_grad()
    def write_until(model, ids, n_new, stop_id):
        cache, unread, length = model.new_cache(), ids, ids.size(1)
        done = torch.zeros(len(ids), 1, dtype=torch.bool)
        if prompt:
            done = (ids == stop_id).any(dim=1, keepdim=True)
        for _ in range(n_new):
            logits = model(unread, cache) if cached else model(ids)
            chosen = logits[:, 0 if first else -1].argmax(dim=-1, keepdim=True)
            unread = torch.where(done, stop_id, chosen) if fill else chosen
            done = done | (chosen == stop_id)
            if not keep_stop and done.all():
                break
            ids = torch.cat([ids, unread], dim=1)
            if end and (done.all() if wait else done.any()):
                break
        return ids if whole else ids[:, length:]

    return write_until


def sizes_of_the_first(probabilities, p):
    return sizes()(probabilities[:1], p).expand(len(probabilities))


def sizes_over_the_rows(probabilities, p):
    rows = probabilities.sort(dim=-1, descending=True).values
    return (rows.cumsum(dim=0) < p).sum(dim=-1) + 1


def sizes_in_place(probabilities, p):
    probabilities.copy_(probabilities.sort(dim=-1, descending=True).values)
    return sizes(ordered=False)(probabilities, p)


def sizes_of_four(probabilities, p):
    """Right for four tokens only."""
    rows = probabilities.sort(dim=-1, descending=True).values
    sums = torch.stack([rows[:, : i + 1].sum(dim=-1) for i in range(4)], dim=-1)
    return (sums < p).sum(dim=-1) + 1


def min_p_thrown_away(logits, share):
    p = logits.softmax(dim=-1)
    logits.masked_fill(p < share * largest(p), -math.inf)
    return logits


def min_p_over_rows(logits, share):
    return min_p()(logits.T, share).T


def min_p_log(logits, share):
    return min_p()(logits, share).log_softmax(dim=-1)


def min_p_of_float32(logits, share):
    return min_p()(logits.float(), share)


def min_p_nothing_dropped(logits, share):
    """Gives the tensor itself back where nothing falls away."""
    result = min_p()(logits, share)
    return logits if torch.equal(result, logits) else result


def min_p_difference(logits, share):
    return logits.masked_fill(logits < largest(logits) - share, -math.inf)


def texts_rounded(config, n_bytes, bytes_per_number):
    return int(texts(exact=True)(config, n_bytes, bytes_per_number))


def texts_with_heads_of_kv(config, n_bytes, bytes_per_number):
    """Takes d_head for d_model / n_kv_heads."""
    numbers = 2 * config.n_layers * config.context_length * config.d_model
    return n_bytes // (numbers * bytes_per_number)


def texts_in_bits(config, n_bytes, bytes_per_number):
    return texts()(config, 8 * n_bytes, bytes_per_number)


def texts_up(config, n_bytes, bytes_per_number):
    return -texts()(config, -n_bytes, bytes_per_number)


def texts_as_tensor(config, n_bytes, bytes_per_number):
    return torch.tensor(texts()(config, n_bytes, bytes_per_number))


def texts_as_float(config, n_bytes, bytes_per_number):
    return float(texts()(config, n_bytes, bytes_per_number))


def until_in_place(model, ids, n_new, stop_id):
    result = writer()(model, ids, n_new, stop_id)
    ids.fill_(stop_id)
    return result


def until_float(model, ids, n_new, stop_id):
    return writer()(model, ids, n_new, stop_id).float()


def until_one_too_many(model, ids, n_new, stop_id):
    return writer()(model, ids, n_new + 1, stop_id)


def until_the_limit(model, ids, n_new, stop_id):
    """Right, but it fills up to n_new."""
    result = writer()(model, ids, n_new, stop_id)
    n_more = ids.size(1) + n_new - result.size(1)
    return torch.cat([result, torch.full((len(ids), n_more), stop_id)], dim=1)


def until_zeros(model, ids, n_new, stop_id):
    """Fills finished rows with 0."""
    result, T = writer()(model, ids, n_new, stop_id), ids.size(1)
    after = (result[:, T:] == stop_id).cumsum(dim=1) > 1
    return torch.cat([ids, result[:, T:].masked_fill(after, 0)], dim=1)


WRONG = {
    "check_nucleus_size": [
        (sizes(more=0), "one more"),
        (sizes_beyond, "A sum equal to p is enough"),
        (sizes(ordered=False), "Sort each row first"),
        (sizes(descending=False), "smallest first"),
        (lambda p, share: (p >= share).sum(dim=-1), "their running sum"),
        (lambda p, share: p.size(-1) - sizes()(p, share), "fall away"),
        (lambda p, share: int(sizes()(p, share)[0]), "shape (B,)"),
        (lambda p, share: sizes()(p, share).float(), "is an integer"),
        (lambda p, share: None, "is a `return` missing"),
        (sizes_of_the_first, "Every row has its own size"),
        (sizes_over_the_rows, "each row stands for itself"),
        (sizes_in_place, "You changed `probabilities`"),
        (sizes_of_four, "How many sums are still below p?"),
        (lambda p, share: sizes()(p, share).int(), "torch counts in int64"),
        (lambda p, share: sizes()(p, share).tolist(), "shape (B,)"),
        (lambda p, share: sizes()(p, share).unsqueeze(1), "shape (B,)"),
    ],
    "check_keep_min_p": [
        (min_p_of_logits, "share of a *probability*"),
        (min_p(bar=torch.max), "the same for all rows"),
        (min_p(bar=torch.max), "row 0 of the logits"),
        (min_p(value=-1e9), "use minus infinity"),
        (min_p(value=torch.finfo(torch.float32).min), "use minus infinity"),
        (min_p(bar=lambda p: 1.0), "times the largest probability"),
        (min_p(value=0.0), "can still be drawn"),
        (min_p(strict=True), "means >="),
        (min_p(answer=lambda p, drop: p.masked_fill(drop, 0.0)), "return logits"),
        (min_p_in_place, "You changed `logits` itself"),
        (lambda z, share: min_p()(z, share)[0], "the shape of the given ones"),
        (min_p_thrown_away, "that you throw away"),
        (min_p_over_rows, "over the vocabulary, dim=-1"),
        (min_p_log, "logarithms of probabilities"),
        (min_p_of_float32, "keep their dtype"),
        (min_p_nothing_dropped, "return a new one"),
        (min_p_difference, "Compare with the row's largest"),
        (lambda z, a: min_p()(z, a).softmax(dim=-1), "return logits, unchanged"),
    ],
    "check_texts_that_fit": [
        (texts(both=1), "Keys *and* values"),
        (texts(layers=False), "Every layer"),
        (texts(positions=False), "every position"),
        (texts(shared=False), "n_kv_heads heads, not n_heads"),
        (texts(wide=True), "not d_model"),
        (texts(width=1), "bytes of one number"),
        (texts(width=4), "that is passed in"),
        (texts(exact=True), "round down"),
        (texts_with_heads_of_kv, "n_kv_heads heads, not n_heads"),
        (texts_in_bits, "not bits"),
        (texts_up, "round down"),
        (texts_as_tensor, "has the type Tensor"),
        (texts_as_float, "`//` divides and rounds down"),
        (texts_rounded, "A float rounds large numbers"),
    ],
    "check_write_until": [
        (writer(wait=False), "wait for all of them"),
        (writer(fill=False), "goes on with other tokens"),
        (writer(end=False), "stop when `done.all()`"),
        (writer(cached=False), "Use the cache"),
        (writer(prompt=True), "new tokens only"),
        (writer(whole=False), "prompts come first"),
        (writer(keep_stop=False), "Is the stop itself in the text?"),
        (writer(first=True), "*last* position"),
        (until_in_place, "You changed `ids` itself"),
        (until_float, "Ids are int64"),
        (until_one_too_many, "never beyond n_new"),
        (until_the_limit, "stop when `done.all()`"),
        (until_zeros, "fill finished rows with stop_id"),
    ],
}
