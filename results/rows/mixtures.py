"""Adversarial networks on mixtures of Gaussians, whose modes can be counted."""

from results.row import Bound, Reference, Row, at_least, at_most, within

PACGAN = "Lin, Khetan, Fanti & Oh 2018"

PACGAN_PROTOCOL = (
    "--generator-hidden 400 400 400 400 --batch-norm --critic-hidden 200 200 200 --pieces 5 --weight-stddev .02"
    " --simultaneous --momentum .8 --learning-rate 1e-4 --schedule constant --ema-decay None"
)

SAMPLERS = ("true_sampler/reverse_kl", "gaussian/reverse_kl", "one_mode/reverse_kl")


def mixture_row(dataset: str, packing: int, published: str, passes: tuple[Bound, ...], *, trials: int = 3) -> Row:
    """The paper's protocol, of which a twentieth runs on a CPU; packs of 100 samples at each place."""
    name = f"pacgan{packing}_{dataset}" if packing > 1 else f"gan_{dataset}"
    return Row(
        name=name,
        title=f"{f'PacGAN by {packing}' if packing > 1 else 'GAN'} on the {dataset}, the paper's protocol",
        experiment="gan_mixture",
        flags=f"--dataset {dataset} {PACGAN_PROTOCOL} --packing {packing} --batch-size {100 * packing}"
        f" --steps 20000 --seeds {trials}",
        metric="gan/modes",
        unit=f"modes of {8 if dataset == 'ring' else 25}, of 2,500 samples",
        baselines=("true_sampler/modes", "one_mode/modes"),
        also=("gan/high_quality_percent", "gan/reverse_kl"),
        reference=Reference(published, PACGAN, "F"),
        passes=passes,
        tier="G",
        share=f"20,000 of 400,000 steps, {trials} of 10 trials",
        budget="published beside it: modes / % of high quality / reverse KL",
    )


ROWS = (
    Row(
        name="gan_ring_small",
        title="GAN 2-128-128-2 on the ring",
        experiment="gan_mixture",
        flags="--dataset ring --seeds 10",
        figures=("samples_over_time",),
        metric="gan/reverse_kl",
        unit="reverse KL of the modes, nats",
        baselines=SAMPLERS,
        reference=Reference("0.45", f"GAN row of {PACGAN}, larger nets", "F"),
        passes=(
            at_least("gan/modes", 7.5),
            at_least("gan/high_quality_percent", 90.0),
            at_most("gan/reverse_kl", 0.1),
        ),
        budget="8,000 batches of 256, Adam 1e-3 (.5) down to 0 by half a cosine, moving average of the generator",
    ),
    Row(
        name="true_ring",
        title="the ring itself, the floor of every sampler",
        experiment="gan_mixture",
        # the mixture's own samples come with every run; training is kept to the shortest
        flags="--dataset ring --seeds 10 --steps 100 --chapter-steps 100",
        metric="true_sampler/high_quality_percent",
        unit="% of 2,500 samples within 3 sd of a mode",
        baselines=("gaussian/high_quality_percent", "one_mode/high_quality_percent"),
        reference=Reference("98.89", "1 - exp(-9/2), chi-square of two degrees", "theorem"),
        passes=(within("true_sampler/high_quality_percent", 98.89, 0.5), within("true_sampler/modes", 8, 0.5)),
        budget="the health is that of the network beside it, which is hardly trained",
    ),
    mixture_row("ring", 1, "6.3 / 98.2 / 0.45", (at_least("gan/modes", 6.3),)),
    mixture_row("ring", 2, "7.9 / 95.6 / 0.07", (at_least("gan/modes", 7.8), at_most("gan/reverse_kl", 0.07))),
    mixture_row("grid", 1, "17.3 / 94.8 / 0.70", (at_least("gan/modes", 15.3),)),
    mixture_row(
        "grid",
        4,
        "24.8 / 93.6 / 0.04",
        (
            at_least("gan/modes", 24.5),
            at_least("gan/high_quality_percent", 90.0),
            at_most("gan/reverse_kl", 0.06),
        ),
        trials=1,
    ),
)
