"""Figures of series told again: a line a channel as far as a series goes, maps of few codes."""

import numpy as np

from seqjax.galleries.told_series import MOST_CHANNELS, latent_map, told_series

RNG = np.random.default_rng(0)


def test_series_stand_beside_what_is_told_of_them_as_far_as_they_go():
    truth, told = RNG.normal(size=(2, 3, 7, 6))
    figure = told_series(truth, np.asarray([7, 2, 1]), {"model": told})
    axes = np.asarray(figure.axes).reshape(MOST_CHANNELS, 3)
    for (channel, number), axis in np.ndenumerate(axes):
        length = (7, 2, 1)[number]
        true, other = (line.get_ydata() for line in axis.lines)
        np.testing.assert_array_equal(true, truth[number, :length, channel])
        np.testing.assert_array_equal(other, told[number, :length, channel])
    assert [text.get_text() for text in axes[0, -1].get_legend().get_texts()] == ["truth", "model"]


def test_maps_are_of_the_same_rows_with_their_labels():
    codes = {"one": RNG.normal(size=(50, 2)), "two": RNG.normal(size=(50, 5))}
    figure = latent_map(codes, np.arange(50) % 3, rows=10)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["one", "two, first two components"]
    assert [sum(len(c.get_offsets()) for c in axis.collections) for axis in figure.axes] == [10, 10]
    assert len(latent_map({"one": codes["one"]}, None).axes[0].collections) == 1
