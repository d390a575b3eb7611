import torch

from fomm.heads.dataset import render_clip
from fomm.model.geometry import coordinate_grid, warp
from fomm.training.flow import true_flow

GRID = coordinate_grid(8, 8, torch.zeros(()))


def maps(*squares: tuple[int, int, int]) -> torch.Tensor:
    """A map 1x8x8x4 with patches of 4x4 cells, each given by its corner and its part; 1 mm apart."""
    surface = torch.zeros(1, 8, 8, 4, dtype=torch.int32)
    y, x = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    for column, row, part in squares:
        patch = torch.stack(
            (1000 + 50 * x, 1000 + 50 * y, torch.full_like(x, 1000), torch.full_like(x, part)), -1
        )
        surface[0, row : row + 4, column : column + 4] = patch.int()
    return surface


def test_a_patch_that_moved_is_found_where_it_was():
    flow = true_flow(maps((1, 2, 1)), maps((3, 3, 1)))
    inside = GRID[3:7, 3:7]
    wanted = inside - torch.tensor([2, 1]) * 2 / 7  # two cells to the left and one up
    inner = (flow.position[0, 3:7, 3:7] - wanted).abs()[1:-1, 1:-1].max()
    assert inner < 1e-5, f"off by {inner}"  # nine pieces around each, the same on all sides
    assert (flow.position[0, 3:7, 3:7] - wanted).abs().max() < 0.5 * 2 / 7
    assert flow.seen[0, 3:7, 3:7].all()
    background = maps((3, 3, 1))[0, ..., 3] == 0
    assert torch.equal(flow.position[0][background], GRID[background])  # it stands still
    hidden = background & (maps((1, 2, 1))[0, ..., 3] > 0)  # uncovered by the patch
    assert torch.equal(flow.seen[0][background], ~hidden[background])


def test_a_piece_of_another_part_is_not_the_same():
    flow = true_flow(maps((1, 2, 2)), maps((3, 3, 1)))
    assert not flow.seen[0, 3:7, 3:7].any()
    assert torch.isfinite(flow.position).all()


def test_between_equal_maps_nothing_moves():
    still, moved = maps((1, 2, 1)), maps((3, 3, 1))
    flow = true_flow(torch.cat((still, still)), torch.cat((still, moved)))
    assert torch.equal(flow.position[0], GRID) and flow.seen[0].all() and flow.known.all()
    assert not torch.equal(flow.position[1], GRID)


def test_drawn_heads_move_as_their_key_points_do():
    """The flow at the exact key points leads to where they were, and the source warped by it is the frame."""
    clip = render_clip(5, 3, 0, frames=3, size=64, step=8)
    surface = torch.from_numpy(clip.surface.astype("int32"))
    frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 255
    points = torch.from_numpy(clip.keypoints)
    source, driving = [0, 0, 1], [1, 2, 2]
    flow = true_flow(surface[source], surface[driving])
    at = points[driving][:, :, None]
    found = warp(flow.position.permute(0, 3, 1, 2), at, align_corners=True)[..., 0].transpose(1, 2)
    seen = warp(flow.seen[:, None].float(), at, align_corners=True)[:, 0, :, 0] > 0.99
    assert seen.float().mean() > 0.6
    moved = (points[driving] - points[source]).norm(dim=-1)[seen].mean()
    error = ((found - points[driving]) - (points[source] - points[driving])).norm(dim=-1)[seen]
    assert moved > 0.1 and error.mean() < 0.02, f"{error.mean()} of a motion of {moved}"
    warped = warp(frames[source], flow.position, align_corners=True)
    mask = flow.seen[:, None]
    left, unchanged = (
        ((image - frames[driving]).abs() * mask).sum() / mask.sum() for image in (warped, frames[source])
    )
    assert left < 0.6 * unchanged, f"{left} of {unchanged}"


def test_the_flow_follows_the_cameras():
    """It leads from where the driving camera has a point to where the source's camera has it."""
    patch = true_flow(maps((1, 2, 1)), maps((3, 3, 1)))
    turned = torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # what the new picture shows at (x, y) was at (-y, x)
    matrix = torch.stack((turned, torch.eye(2)))[:, None]
    flow = patch.under_cameras(matrix, torch.zeros(2, 1, 2))
    x, y = patch.position[0, 4, 4].tolist()
    assert torch.allclose(flow.position[0, 4, 4], torch.tensor([y, -x]), atol=1e-5)
    assert flow.known.all() and torch.equal(flow.seen, patch.seen)

    two_cells = torch.tensor([4 / 7, 0.0])  # the driving camera looks two cells further to the right
    shifts = torch.stack((torch.zeros(2), two_cells))[:, None]
    flow = patch.under_cameras(torch.eye(2).expand(2, 1, 2, 2), shifts)
    assert torch.allclose(flow.position[0, :, :6], patch.position[0, :, 2:], atol=1e-5)
    assert not flow.known[0, :, 6:].any() and flow.known[0, :, :6].all()

    shifts = torch.stack((two_cells, torch.zeros(2)))[
        :, None
    ]  # the source's does: what was at its left is gone
    flow = patch.under_cameras(torch.eye(2).expand(2, 1, 2, 2), shifts)
    assert not flow.seen[0, :, :2].any() and flow.known.all()


def test_on_another_grid_the_motion_is_the_same():
    flow = true_flow(maps((1, 2, 1)), maps((3, 3, 1)))
    for size in (4, 16):
        other = flow.resized(size, size)
        motion = other.position - coordinate_grid(size, size, torch.zeros(()))
        middle = motion[0, size // 2 + size // 8, size // 2 + size // 8]
        assert torch.allclose(middle, torch.tensor([-2.0, -1.0]) * 2 / 7, atol=1e-5), size
        assert other.seen.shape == other.known.shape == (1, size, size)
    assert flow.resized(8, 8) is flow
