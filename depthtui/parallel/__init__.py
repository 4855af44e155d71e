"""Several processes that compute one model together: the ranks of a group.

Rank 0 runs the command, and the others make its calls too (`engine.followers`); in `analyze`,
every rank makes the same calls itself. They agree on this, and on nothing else:

- the next call: rank 0; its end: all (`engine.shared_calls`);
- the model's files, its part and its weights being there and fitting: all or none
  (`models.loading`);
- the right of a model's code to run, its fingerprint: rank 0 (`engine.engine`, `models.loading`);
- the contents of the cache: rank 0 (`engine.result_cache`, `engine.lenses`,
  `engine.layer_orders`), and room in it for activations (`engine.measurement`);
- a stop of the work: any rank; a halt of a run: rank 0 (`engine.control`);
- free memory, which decides the sizes of parts: the least (`engine.memory`);
- one pass or several for the lens's sums on a GPU: every rank (`metrics.logit_lens.fused`);
- the divisor of parts after the memory ran out: the rank where it did (`parallel.ending`).

Products are torch's own there: the timings of two ranks might choose differently. Nothing that
only rank 0 knows (time, terminal, folders) may decide which layers run on how many rows, or the
ranks diverge.
"""
