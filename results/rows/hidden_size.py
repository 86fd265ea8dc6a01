"""Hidden sizes, and one other field, chosen by cross-validation."""

from results.row import Row

RULES = {
    False: "chosen is the first candidate within one standard error of the best, which is a row of its own",
    True: "chosen is the best candidate, the rates having no simplest one",
}


def choice_row(
    name: str, title: str, flags: str, *, field: str = "hidden_size", told: bool = False, budget: str = ""
) -> Row:
    return Row(
        name=f"hidden_size_{name}",
        title=title,
        experiment="hidden_size",
        flags=flags,
        metric="chosen/test_error",
        unit="squared error of a test value, in variances of its channel",
        baselines=tuple(f"{row}/test_error" for row in ("best", "pca" if told else "last_value", "mean")),
        also=(f"chosen/{field}", f"best/{field}", "chosen/fold_error", "best/fold_error"),
        figures=("error_curve",),
        budget=f"5 folds of the training series, the test split chooses nothing; {RULES['--rule best' in flags]}; 300"
        f" steps each{budget}",
    )


ROWS = (
    choice_row(
        "japanese_vowels",
        "units of a recurrence that predicts the next step of spoken vowels",
        "--dataset japanese_vowels --sizes 4 8 16 32 64 --learning-rate 3e-2 --steps 300",
        budget=", learning rate chosen by the folds of seed 100",
    ),
    choice_row(
        "code_japanese_vowels",
        "units of the code of a recurrent autoencoder, spoken vowels",
        "--dataset japanese_vowels --model recurrent_autoencoder --field latent_size --candidates 1 2 4 8 16"
        " --learning-rate 1e-2 --steps 300",
        field="latent_size",
        told=True,
    ),
    choice_row(
        "rate_italy_power",
        "learning rate of a recurrence that predicts the next hour of a day's power demand, one program",
        "--dataset italy_power_demand --field learning_rate --candidates 1e-3 3e-3 1e-2 3e-2 1e-1 --rule best"
        " --steps 300",
        field="learning_rate",
    ),
)
