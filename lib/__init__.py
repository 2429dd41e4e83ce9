"""The small library that the lessons build and share.

Read it in the order of the course: corpus, tokenizer, data, metrics, bigram, train,
generate; then position, attention, norm, ffn, block, gpt. Each public name says in its
docstring which lesson builds it in front of the reader.
"""
