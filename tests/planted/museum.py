"""Mends of the bug museum that learners would try, which its checks must reject.

`WRONG` has for each exhibit some changes of its faulty code: pairs of a text that
stands there and what stands there instead.
"""

WRONG = {
    "causal-weights": [
        [("triu(1)", "triu(0)")],
        [("return weights.masked_fill(future, 0.0)", "return weights / weights.sum()")],
        [
            ("scores.softmax", "scores.masked_fill(future, 0.0).softmax"),
        ],
        [
            ("return weights.masked_fill(future, 0.0)",
             "weights = weights.masked_fill(future, 0.0)\n"
             "    return weights / weights.sum(dim=-1, keepdim=True)"),
        ],
    ],
    "cached-attention": [
        [(".tril()", ".tril(n_keys)")],
        [(".tril()", ".tril(n_queries)")],
        [(".tril()", ".tril(n_keys - 1)")],
        [(".tril()", ".tril(n_queries - n_keys)")],
    ],
    "short-prompts": [
        [("torch.arange(width).expand(len(prompts), -1)", "mask.cumsum(dim=1)")],
        [("torch.arange(width).expand(len(prompts), -1)", "mask.cumsum(dim=1) - 1")],
        [(".expand(len(prompts), -1)", " * mask")],
        [("[pad_id] * (width - len(p)) + p", "p + [pad_id] * (width - len(p))")],
    ],
    "window": [
        [("<= window", "< window - 1")],
        [("distance >= 0", "distance > 0")],
        [("distance <= window", "distance < window + 1")],
    ],
    "packed-rows": [
        [(">=", "<=")],
        [("causal & same", "causal | same")],
        [(">=", "=="), ("causal & same", "same")],
        [(">=", ">")],
    ],
    "heads": [
        [("(n_rows, n_heads, length,", "(n_rows, length, n_heads,")],
        [("x.view(n_rows, n_heads, length, d_model // n_heads)",
          "x.view(n_rows, length, -1, n_heads).permute(0, 3, 1, 2)")],
        [("x.view(n_rows", "x.contiguous().view(n_rows")],
        [("x.view(n_rows", "x.transpose(1, 2).reshape(n_rows")],
    ],
    "shared-heads": [
        [("k.repeat(1, n_shared, 1, 1)", "k.repeat_interleave(n_shared, dim=0)")],
        [("k.repeat(1, n_shared, 1, 1)", "torch.cat([k] * n_shared, dim=1)")],
        [("k.repeat(1, n_shared, 1, 1)", "k.repeat_interleave(n_shared, dim=2)")],
    ],
    "layer-norm": [
        [("x.std(-1, keepdim=True)", "x.std(-1, keepdim=True, correction=0)")],
        [("x.std(-1, keepdim=True)", "x.var(-1, keepdim=True)"),
         ("(std + self.eps)", "(std + self.eps).sqrt()")],
        [("x.std(-1, keepdim=True)", "x.std(correction=0)")],
    ],
    "first-loss": [
        [("= nn.Embedding(vocab_size, d_model)",
          "= nn.Embedding(vocab_size, d_model)\n"
          "        nn.init.zeros_(self.table.weight)")],
        [("= nn.Embedding(vocab_size, d_model)",
          "= nn.Embedding(vocab_size, d_model)\n"
          "        nn.init.normal_(self.table.weight, std=0.5)")],
        [("return x @ self.table.weight.T", "return 0 * (x @ self.table.weight.T)")],
    ],
    "balance-loss": [
        [("n_experts *", "n_experts / 2 *")],
        [("n_experts *", "chosen.size(1) *")],
        [("times.mean(dim=0),", "times.mean(dim=0).clamp(max=1 / n_experts),")],
        [("probabilities.mean(dim=0)", "probabilities.mean(dim=0).detach()"),
         ("times.mean(dim=0),", "times.mean(dim=0) / chosen.size(1),")],
    ],
    "next-token-loss": [
        [("logits[:, :-1], targets[:, 1:]", "logits[:, 1:], targets[:, :-1]")],
        [("logits[:, :-1], targets[:, 1:]", "logits[:, :-1], targets[:, :-1]")],
        [("logits[:, :-1], targets[:, 1:]", "logits[:, 1:], targets[:, 1:]")],
    ],
    "token-loss": [
        [("F.cross_entropy(probabilities", "F.nll_loss(probabilities")],
        [("F.cross_entropy(probabilities", "F.nll_loss(probabilities.log()")],
        [("F.cross_entropy(probabilities", "F.nll_loss((probabilities + 1e-9).log()")],
        [("dim=-1", "dim=0")],
    ],
    "parts-of-a-batch": [
        [("/ len(parts)", "* len(inputs) / sum(len(x) for x, _ in parts)")],
        [(" / len(parts)", "")],
        [("/ len(parts)", "* (targets != -100).sum()")],
        [("        loss.backward()\n", ""),
         ("    return total", "    loss.backward()\n    return total")],
    ],
    "clipping": [
        [("length = p.grad.norm()", "length = sum(q.grad.norm() for q in parameters)")],
        [("if length > limit:", "if True:")],
        [("p.grad *= limit / length", "p.grad.clamp_(-limit, limit)")],
        [("p.grad.norm()", "p.grad.abs().max()")],
    ],
    "dropout-mask": [
        [("seed + step", "seed + step + rank")],
        [("seed + step", "seed + rank")],
        [("seed + step", "seed * rank + step")],
        [("torch.Generator().manual_seed(seed + step)", "None")],
        [("seed + step", "seed + 10 * step + rank"), ],
    ],
    "top-p": [
        [("<= p", "< p")],
        [("ordered.cumsum(dim=0) <= p", "ordered.cumsum(dim=0) - ordered <= p")],
        [("ordered.cumsum(dim=0) <= p", "ordered >= 1 - p")],
        [("kept[0] = True", "kept[kept.sum()] = True")],
    ],
    "top-k": [
        [("logits.masked_fill(", "logits.masked_fill_(")],
        [("    logits.masked_fill(", "    logits = logits.masked_fill("),
         ("logits < least", "logits <= least")],
        [("    logits.masked_fill(", "    logits = logits.masked_fill("),
         ("[:, -1:]", "[:, :1]")],
        [("    logits.masked_fill(", "    logits = logits.masked_fill("),
         ('float("-inf")', "0.0")],
    ],
    "repetition": [
        [("/= penalty", "*= penalty")],
        [("logits[token] /= penalty", "logits[token] = logits[token].abs() / penalty")],
        [("set(seen)", "seen"), ("/= penalty", "-= penalty - 1")],
        [("logits[token] /= penalty", "logits[token] -= penalty")],
    ],
    "bits-per-byte": [
        [("len(text)", "len(losses)")],
        [("len(text)", 'len(text.encode("utf-16"))')],
        [("len(text)", 'len(text.encode("ascii", "ignore"))')],
        [("/ len(text)", "* len(text)")],
        [("len(text)", "(2 * len(text))")],
    ],
    "diamonds": [
        [('errors="replace"', 'errors="ignore"')],
        [("    for piece in pieces:\n"
          '        yield piece.decode("utf-8", errors="replace")',
          '    yield b"".join(pieces).decode("utf-8")')],
        [('"utf-8"', '"latin-1"')],
    ],
    "answer-loss": [
        [("(losses * written).mean(dim=1)", "losses[written]")],
        [("(losses * written).mean(dim=1)",
          "(losses * written).sum(dim=1) / written.sum()")],
        [("(losses * written).mean(dim=1)", "losses.mean(dim=1)")],
        [("(losses * written).mean(dim=1)", "(losses * written).sum(dim=1)")],
    ],
    "first-ratio": [
        [("(self.logits / self.temperature).softmax", "self.logits.softmax")],
        [("[tokens]", "[tokens] / self.temperature")],
        [("self.logits.log_softmax", "(self.logits * self.temperature).log_softmax")],
    ],
    "distance": [
        [("d.exp() - 1 - d", "(d.exp() - 1 - d).clamp(min=0)")],
        [("d.exp() - 1 - d", "(d.exp() - 1 - d).abs()")],
        [("d.exp() - 1 - d", "d.square() / 2")],
        [("d.exp() - 1 - d", "d.exp() - (1 + d)")],
        [("reference - new", "new - reference"),
         ("d.exp() - 1 - d", "torch.expm1(d) - d")],
    ],
    "reference": [
        [("reference = model", "reference = copy.copy(model)")],
        [("reference = model", "reference = model.eval()")],
        [("return model, reference",
          "reference.requires_grad_(False)\n    return model, reference")],
        [("reference = model", "reference = copy.deepcopy(model)"),
         ("return model, reference", "return reference, reference")],
    ],
    "clipped-gain": [
        [("torch.minimum", "torch.maximum")],
        [("torch.minimum(ratio, clipped)", "clipped")],
        [("* advantage", "* advantage.abs()")],
        [("torch.minimum(ratio, clipped) * advantage",
          "torch.maximum(ratio * advantage, clipped * advantage)")],
    ],
    "adapter": [
        [("= alpha", "= rank / alpha")],
        [("= alpha", "= 1 / rank")],
        [("= alpha", "= alpha / rank**0.5")],
    ],
    "new-adapter": [
        [("torch.zeros(d_out, rank)", "torch.randn(d_out, rank)"),
         ("torch.zeros(rank, d_in)", "torch.randn(rank, d_in)")],
        [("torch.zeros(rank, d_in)", "torch.ones(rank, d_in)")],
        [("alpha / rank", "100 * alpha / rank")],
    ],
    "stop": [
        [("ids.masked_fill(ids == stop_id, -100)", "ids.clone()")],
        [("ids == stop_id", "(ids == stop_id).cumsum(dim=1) > 1")],
        [("ids == stop_id", "ids != stop_id")],
        [("return ids, labels", "labels[:, -1] = stop_id\n    return ids, labels")],
    ],
    "pass-at-k": [
        [("(1 - n_right / n) ** k", "(1 - n_right / n) ** n")],
        [("1 - (1 - n_right / n) ** k", "math.comb(n_right, k) / math.comb(n, k)")],
        [("1 - (1 - n_right / n) ** k", "min(1.0, k * n_right / n)")],
        [("1 - (1 - n_right / n) ** k", "float(n_right > 0)")],
    ],
    "validation-loss": [
        [("len(losses)", "(len(tokens) - 1)")],
        [("window[1:]))", "window[1:]) * length)"),
         ("len(losses)", "(len(losses) * length)")],
        [("len(tokens) - 1, length", "len(tokens) - length, length")],
        [("loss_of(window[:-1], window[1:])",
          "loss_of(window[:-1], window[1:]) * len(window)"),
         ("sum(losses) / len(losses)", "sum(losses) / len(tokens)")],
    ],
}  # fmt: skip
