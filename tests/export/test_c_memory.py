"""Places of rows in the memory of a network in C: what is needed at the same time does not share a byte."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cifar_edge import c
from cifar_edge.c.memory import Buffer, place
from cifar_edge.files import released
from cifar_edge.integer import IntegerNetwork


@st.composite
def buffers(draw: st.DrawFn) -> Buffer:
    first = draw(st.integers(0, 20))
    before, behind = draw(st.integers(0, 60)), draw(st.integers(0, 60))
    return Buffer(
        first, first + draw(st.integers(0, 9)), before, draw(st.integers(1, 60)), behind, draw(st.integers(0, 1))
    )


@settings(deadline=None, max_examples=100)
@example([Buffer(0, 0, 41, 19, 0, 1), Buffer(2, 2, 0, 15, 13, 0), Buffer(0, 1, 0, 2, 0, 1), Buffer(1, 2, 0, 13, 0, 1)])
@given(st.lists(buffers(), min_size=1, max_size=25))
def test_buffers_that_are_needed_at_once_share_nothing_but_padding(needed: list[Buffer]) -> None:
    places, end = place(needed)
    contents: list[dict[int, tuple[str, int]]] = [{} for _ in range(30)]
    for number, (buffer, start) in enumerate(zip(needed, places, strict=True)):
        assert start >= buffer.before
        assert start + buffer.size + buffer.behind <= end
        codes = dict.fromkeys(range(start, start + buffer.size), ("codes of", number))
        around = [
            *range(start - buffer.before, start),
            *range(start + buffer.size, start + buffer.size + buffer.behind),
        ]
        for time in range(buffer.first, buffer.last + 1):
            for byte, content in (codes | dict.fromkeys(around, ("padding", buffer.padding))).items():
                assert contents[time].setdefault(byte, content) == content


def test_one_after_the_other_lie_in_the_same_place() -> None:
    assert place([Buffer(time, time, 0, 8, 0, 0) for time in range(5)]) == ([0] * 5, 8)


def test_neighbours_share_padding() -> None:
    same = [Buffer(0, 1, 4, 8, 4, 7), Buffer(0, 1, 4, 8, 4, 7)]
    assert place(same)[1] == 4 + 8 + 4 + 8 + 4


def test_the_state_of_the_released_networks_is_small() -> None:
    for name, most in (("gn-cnn", 8_000), ("gn-cnn-nano", 5_000)):
        network = IntegerNetwork.from_onnx(released(f"export/{name}/{name}.int8.onnx"))
        assert c.figures(network)["state_bytes"] <= most
