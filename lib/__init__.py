"""The small library that the lessons build and share.

Read it in the order of the course: corpus, tokenizer, data, metrics, bigram, train,
generate; then position, attention, norm, ffn, block, gpt. Each public name says in its
docstring which lesson builds it in front of the reader.
"""

import io
import sys

if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
    # Where output goes to a narrow code page, as into a file on Windows, a character
    # that it lacks is shown as a question mark; it does not end the program.
    sys.stdout.reconfigure(errors="replace")
