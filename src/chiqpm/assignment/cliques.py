"""Greedy cliques in dense graphs, with one Python integer per vertex as its set of neighbours.

Bit v of ``neighbours[u]`` says that u and v are joined. Intersections and complements of vertex sets are then single
operations on integers of a few thousand bits, which keeps these estimates fast without any compiled code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def adjacency_bits(adjacency_NN: NDArray[np.bool_]) -> list[int]:
    """Pack a boolean adjacency matrix (N,N) into N integers, vertex v at bit v."""
    packed = np.packbits(adjacency_NN, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def greedy_clique_size(adjacency_NN: NDArray[np.bool_], target: int) -> int:
    """Size of the first greedy clique with at least `target` vertices, or of the largest one found.

    Args:
        adjacency_NN: symmetric graph (N,N) without self loops.
        target: vertices of smaller degree are not tried as starts, and the search ends at a clique of this size or
        more.

    Returns:
        A lower bound on the clique number. Each start adds the common neighbour of highest degree (the lowest index on
        ties) until none is left; starts are tried by index.
    """
    degree_N = adjacency_NN.sum(axis=1)
    order_N = np.argsort(-degree_N, kind="stable")
    # In this order the candidate of highest degree is simply the lowest bit that is set.
    neighbours = adjacency_bits(adjacency_NN[np.ix_(order_N, order_N)])
    rank_N = np.argsort(order_N)
    best = 0
    for start in np.flatnonzero(degree_N >= target):
        candidates, size = neighbours[rank_N[start]], 1
        while candidates:
            vertex = (candidates & -candidates).bit_length() - 1
            candidates &= neighbours[vertex]
            size += 1
        best = max(best, size)
        if best >= target:
            break
    return best


def _ramsey(neighbours: list[int], vertices: int) -> tuple[int, int]:
    """A clique and an independent set inside `vertices`, by Ramsey recursion, as bit sets.

    Every call splits on its lowest vertex into neighbours and non-neighbours; the stack replaces the recursion, which
    can be as deep as there are vertices.
    """
    results: list[tuple[int, int]] = []
    stack: list[tuple[int, int]] = [(vertices, -1)]
    while stack:
        rest, pivot = stack.pop()
        if pivot >= 0:
            clique_out, independent_out = results.pop()
            clique_in, independent_in = results.pop()
            clique_in |= 1 << pivot
            independent_out |= 1 << pivot
            results.append(
                (
                    clique_in if clique_in.bit_count() >= clique_out.bit_count() else clique_out,
                    independent_in if independent_in.bit_count() >= independent_out.bit_count() else independent_out,
                )
            )
        elif not rest:
            results.append((0, 0))
        else:
            lowest = (rest & -rest).bit_length() - 1
            without = rest ^ (1 << lowest)
            stack.append((0, lowest))
            stack.append((without & ~neighbours[lowest], -1))
            stack.append((without & neighbours[lowest], -1))
    return results[0]


def find_clique(adjacency_NN: NDArray[np.bool_], target: int) -> NDArray[np.int64] | None:
    """Construct a clique of at least `target` vertices by repeated clique removal on the complement.

    Args:
        adjacency_NN: symmetric graph (N,N) without self loops.
        target: wanted number of vertices.

    Returns:
        Vertex indices (at least `target` of them, ascending), or None when the heuristic finds no such clique,
        which does not prove that
        there is none. The method is that of Boppana and Halldórsson (1992).
    """
    complement_NN = ~adjacency_NN
    np.fill_diagonal(complement_NN, False)
    neighbours = adjacency_bits(complement_NN)
    rest = (1 << len(neighbours)) - 1
    while rest.bit_count() >= target:
        group, independent = _ramsey(neighbours, rest)
        if independent.bit_count() >= target:
            return np.array([v for v in range(len(neighbours)) if independent >> v & 1], dtype=np.int64)
        rest &= ~group
    return None
