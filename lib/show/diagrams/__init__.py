"""The diagrams of the lessons: pictures of the machine, drawn by code.

Each function returns a drawing that a notebook shows as an SVG, in the reader's light
or dark colours. Its ``alt`` says in words what it shows. What a lesson adds is drawn in
the second colour, with a thicker line.
"""

from lib.show.diagrams.attention import attention_grid, qkv
from lib.show.diagrams.block import depth_paths, layer_norm, norm_places
from lib.show.diagrams.core import Diagram
from lib.show.diagrams.data import packed_row, signature_bands
from lib.show.diagrams.embeddings import clock_hands, embedding_lookup
from lib.show.diagrams.encoder_decoder import (
    decoder_inputs,
    encoder_decoder,
    pad_masks,
)
from lib.show.diagrams.evaluation import sliding_windows
from lib.show.diagrams.experts import places, routed
from lib.show.diagrams.feed_forward import corners, widen
from lib.show.diagrams.generation import (
    cache_step,
    prefill_decode,
    speculation,
    writing_loop,
)
from lib.show.diagrams.gpt import gpt2_file, gpt2_parameters, gpt_names
from lib.show.diagrams.gradients import computation_graph, shared_node
from lib.show.diagrams.induction import induction
from lib.show.diagrams.instructions import held_out_grid, tuned_row
from lib.show.diagrams.language import bigram_table, life_of_a_model, shifted_windows
from lib.show.diagrams.long_context import blockwise, ring_cache
from lib.show.diagrams.masking import (
    both_directions,
    filled_blank,
    frozen_encoder,
)
from lib.show.diagrams.modern import replaced_parts, rotation
from lib.show.diagrams.reasoning import (
    sample_tree,
    serial_steps,
    tool_loop,
    written_steps,
)
from lib.show.diagrams.reinforcement import answer_group, clipped_ratio, reward_loop
from lib.show.diagrams.patches import (
    caption_decoder,
    patch_encoder,
    square_patches,
)
from lib.show.diagrams.preferences import four_numbers, reward_head
from lib.show.diagrams.residual import stream
from lib.show.diagrams.runs import run_state
from lib.show.diagrams.scaling import recomputed, shared_memory
from lib.show.diagrams.splitting import heads, wrong_split
from lib.show.diagrams.tokens import merge_tree, tokenizer_path
from lib.show.diagrams.training import equal_stretch, rate_schedule, training_ring
from lib.show.diagrams.translation import beam_tree, translator
from lib.show.diagrams.tuning import adapter, frozen_parts

__all__ = [
    "Diagram",
    "life_of_a_model",
    "shifted_windows",
    "bigram_table",
    "computation_graph",
    "shared_node",
    "embedding_lookup",
    "clock_hands",
    "stream",
    "qkv",
    "attention_grid",
    "heads",
    "wrong_split",
    "corners",
    "widen",
    "layer_norm",
    "norm_places",
    "depth_paths",
    "gpt_names",
    "gpt2_parameters",
    "gpt2_file",
    "training_ring",
    "rate_schedule",
    "equal_stretch",
    "run_state",
    "writing_loop",
    "cache_step",
    "prefill_decode",
    "speculation",
    "encoder_decoder",
    "decoder_inputs",
    "pad_masks",
    "tokenizer_path",
    "merge_tree",
    "patch_encoder",
    "square_patches",
    "caption_decoder",
    "both_directions",
    "filled_blank",
    "frozen_encoder",
    "translator",
    "beam_tree",
    "replaced_parts",
    "rotation",
    "blockwise",
    "ring_cache",
    "routed",
    "places",
    "induction",
    "shared_memory",
    "recomputed",
    "serial_steps",
    "written_steps",
    "tool_loop",
    "sample_tree",
    "reward_loop",
    "answer_group",
    "clipped_ratio",
    "packed_row",
    "signature_bands",
    "sliding_windows",
    "frozen_parts",
    "adapter",
    "tuned_row",
    "held_out_grid",
    "four_numbers",
    "reward_head",
]
