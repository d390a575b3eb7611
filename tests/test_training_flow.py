import numpy as np
import torch
from surfaces import patch, surface_maps

from fomm.heads.dataset import render_clip
from fomm.model.geometry import coordinate_grid, warp
from fomm.training.flow import Flow, compute_true_flow

GRID = coordinate_grid(8, 8, torch.zeros(()))
CELLS, PLACES = patch(4)


def maps(
    source: tuple[int, int], driving: tuple[int, int], cover: tuple[int, int] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return maps 2x1x8x8x8 and vertices of a patch of 4x4 cells, given by its corners in both frames.

    ``cover``: the corner of another patch, of another part, that lies over it in the source.
    """
    cells, places, parts = np.stack((CELLS + source, CELLS + driving)), PLACES, np.ones(len(PLACES), int)
    if cover is not None:
        other = np.stack((CELLS + cover, np.full_like(CELLS, 100)))
        cells, places = np.concatenate((cells, other), 1), np.concatenate((PLACES, PLACES))
        parts = np.concatenate((parts, 2 * parts))
    surface, vertices = surface_maps(8, cells, places, parts)
    return torch.from_numpy(surface.astype("i4"))[:, None], torch.from_numpy(vertices)[:, None]


def flow_of(*corners: tuple[int, int]) -> Flow:
    """Return the flow between the ``maps`` of these corners."""
    return compute_true_flow(*maps(*corners))


def test_a_patch_that_moved_is_found_where_it_was():
    flow = flow_of((1, 2), (3, 3))
    inside = GRID[3:7, 3:7]
    wanted = inside - torch.tensor([2, 1]) * 2 / 7  # two cells to the left and one up
    assert (flow.position[0, 3:7, 3:7] - wanted).abs().max() < 1e-5
    assert flow.seen[0, 3:7, 3:7].all()
    background = torch.ones(8, 8, dtype=torch.bool)
    background[3:7, 3:7] = False
    assert torch.equal(flow.position[0][background], GRID[background])  # it stands still
    hidden = torch.zeros_like(background)
    hidden[2:6, 1:5] = True  # uncovered by the patch
    assert torch.equal(flow.seen[0][background], ~hidden[background])


def test_what_another_part_hides_is_where_it_was_all_the_same():
    shown, hidden = flow_of((1, 2), (3, 3)), flow_of((1, 2), (3, 3), (1, 2))
    assert torch.equal(hidden.position, shown.position)
    assert not hidden.seen[0, 3:7, 3:7].any()
    half = flow_of((1, 2), (3, 3), (-1, 2)).seen[0, 3:7, 3:7]
    assert half[:, 2:].all()
    assert not half[:, 0].any()  # pieces of the next cell are near enough


def test_what_is_out_of_the_source_is_not_seen():
    flow = flow_of((-3, 2), (3, 3))
    assert flow.seen[0, 3:7, 6].all()
    assert not flow.seen[0, 3:7, 3:6].any()
    assert (flow.position[0, 3:7, 3:6, 0] < -1.1).all()


def test_between_equal_maps_nothing_moves():
    still, moved = maps((1, 2), (1, 2)), maps((1, 2), (3, 3))
    flow = compute_true_flow(*(torch.cat(pair, 1) for pair in zip(still, moved, strict=True)))
    assert torch.equal(flow.position[0], GRID)
    assert flow.seen[0].all()
    assert flow.known.all()
    assert not torch.equal(flow.position[1], GRID)


def test_drawn_heads_move_as_their_key_points_do():
    """The flow at the exact key points leads to where they were, and the source warped by it is the frame."""
    clip = render_clip(5, 3, 0, frames=3, size=64, step=8)
    surface, vertices = torch.from_numpy(clip.surface.astype("int32")), torch.from_numpy(clip.vertices)
    frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 255
    points = torch.from_numpy(clip.keypoints)
    source, driving = [0, 0, 1], [1, 2, 2]
    pairs = torch.tensor([source, driving])
    flow = compute_true_flow(surface[pairs], vertices[pairs])
    at = points[driving][:, :, None]
    found = warp(flow.position.permute(0, 3, 1, 2), at, align_corners=True)[..., 0].transpose(1, 2)
    seen = warp(flow.seen[:, None].float(), at, align_corners=True)[:, 0, :, 0] > 0.99
    assert seen.float().mean() > 0.6
    moved = (points[driving] - points[source]).norm(dim=-1)[seen].mean()
    error = ((found - points[driving]) - (points[source] - points[driving])).norm(dim=-1)[seen]
    assert moved > 0.1
    assert error.mean() < 0.02, f"{error.mean()} of a motion of {moved}"
    warped = warp(frames[source], flow.position, align_corners=True)
    mask = flow.seen[:, None]
    left, unchanged = (
        ((image - frames[driving]).abs() * mask).sum() / mask.sum() for image in (warped, frames[source])
    )
    assert left < 0.6 * unchanged, f"{left} of {unchanged}"


def test_the_flow_follows_the_cameras():
    """It leads from where the driving camera has a point to where the source's camera has it."""
    patch = flow_of((1, 2), (3, 3))
    turned = torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # what the new picture shows at (x, y) was at (-y, x)
    matrix = torch.stack((turned, torch.eye(2)))[:, None]
    flow = patch.move_cameras(matrix, torch.zeros(2, 1, 2))
    x, y = patch.position[0, 4, 4].tolist()
    assert torch.allclose(flow.position[0, 4, 4], torch.tensor([y, -x]), atol=1e-5)
    assert flow.known.all()
    assert torch.equal(flow.seen, patch.seen)

    two_cells = torch.tensor([4 / 7, 0.0])  # the driving camera looks two cells further to the right
    shifts = torch.stack((torch.zeros(2), two_cells))[:, None]
    flow = patch.move_cameras(torch.eye(2).expand(2, 1, 2, 2), shifts)
    assert torch.allclose(flow.position[0, :, :6], patch.position[0, :, 2:], atol=1e-5)
    assert not flow.known[0, :, 6:].any()
    assert flow.known[0, :, :6].all()

    # The source's camera does so instead: what was at its left is gone.
    shifts = torch.stack((two_cells, torch.zeros(2)))[:, None]
    flow = patch.move_cameras(torch.eye(2).expand(2, 1, 2, 2), shifts)
    assert not flow.seen[0, :, :2].any()
    assert flow.known.all()


def test_on_another_grid_the_motion_is_the_same():
    flow = flow_of((1, 2), (3, 3))
    for size in (4, 16):
        other = flow.resize(size, size)
        motion = other.position - coordinate_grid(size, size, torch.zeros(()))
        middle = motion[0, size // 2 + size // 8, size // 2 + size // 8]
        assert torch.allclose(middle, torch.tensor([-2.0, -1.0]) * 2 / 7, atol=1e-5), size
        assert other.seen.shape == other.known.shape == (1, size, size)
    assert flow.resize(8, 8) is flow
