"""Networks of other people: the page has the table of the results, and these bear out what it says."""

from conftest import CHECKOUT

from benchmarks import results_file
from benchmarks.own_network.results import RESULTS, Line, table

LINES = results_file.read(RESULTS, Line)


def test_the_page_has_the_results() -> None:
    assert table(LINES) in (CHECKOUT / "docs" / "own-network.md").read_text()


def test_published_weights_give_more_than_their_publishers_int8_file() -> None:
    (line,) = (line for line in LINES if line.official is not None)
    assert (line.network, line.images, line.c_images, line.outcome) == ("resnet8", 10_000, 10_000, "passed")
    assert line.official is not None
    assert min(line.int8, line.litert) > line.official
