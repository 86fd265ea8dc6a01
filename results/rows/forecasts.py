"""The next steps of several channels."""

from results.row import Row

FORECASTS = {
    "seasonal": (
        "two clocks under noise, made up",
        "--dataset seasons",
        "48 steps read, 24 predicted; chosen on the validation split",
    ),
    "stocks": (
        "daily prices of a share",
        "--dataset stocks --context 24 --horizon 8 --inputs changes --hidden-size 32 --learning-rate 1e-3 --steps 500"
        " --chapter-steps 20",
        "24 days read, 8 predicted; the first 70 % of the days train, the next 10 % choose, the last 20 % test",
    ),
}


def forecast_row(series: str, cell: str) -> Row:
    title, flags, budget = FORECASTS[series]
    floor = ("noise/squared_error",) if series == "seasonal" else ()
    return Row(
        name=f"forecast_{series}_{cell}",
        title=f"next steps of {title}, {cell}",
        experiment="forecast",
        flags=f"{flags} --cell {cell}",
        metric=f"{cell}/squared_error",
        unit="test squared error, in variances of the training split",
        figures=("forecasts", "errors_by_step") if (series, cell) == ("seasonal", "gru") else (),
        baselines=(*(f"{row}/squared_error" for row in ("last_value", "seasonal", "ar", "var")), *floor),
        budget=budget,
    )


ROWS = (
    forecast_row("seasonal", "gru"),
    forecast_row("seasonal", "lstm"),
    forecast_row("seasonal", "rnn"),
    forecast_row("stocks", "gru"),
    forecast_row("stocks", "lstm"),
    forecast_row("stocks", "rnn"),
)
