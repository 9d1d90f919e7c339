"""AdamW, and the learning rate of each step."""

import ml_collections
import optax


def make_schedule(train: ml_collections.ConfigDict, steps: int) -> optax.Schedule:
    """Warm-up, a plateau, and a linear decay to zero (Hu et al. 2024, MiniCPM).

    On the plateau nothing depends on the number of steps: a training can be given more or
    fewer epochs when it goes on.
    """
    decay = max(round(steps * train.decay_share), 1)
    return optax.join_schedules(
        [
            optax.linear_schedule(
                train.peak_learning_rate / (train.warmup_steps + 1),
                train.peak_learning_rate,
                max(train.warmup_steps, 1),
            ),
            optax.constant_schedule(train.peak_learning_rate),
            optax.linear_schedule(train.peak_learning_rate, 0.0, decay),
        ],
        [train.warmup_steps, max(steps - decay, train.warmup_steps)],
    )


def make_optimizer(
    schedule: optax.Schedule, clip: float, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """AdamW on clipped gradients; b2 is for trainings of about a thousand steps."""
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.scale_by_adam(b1=0.9, b2=0.99),
        # Left out at 0, so that the state is that of trainings that were begun without it.
        *([optax.add_decayed_weights(weight_decay)] if weight_decay else []),
        optax.scale_by_learning_rate(schedule),
    )
