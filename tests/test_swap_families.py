"""The families: equations by hand, losses that fall, and each person through the own side."""

import importlib
import math

import pytest
import torch
from swap_case import draw_side
from torch import nn

from fomm.errors import InputError
from fomm.swap.batches import Batch, Side, draw_batch, normalise
from fomm.swap.families import FAMILIES, PLAIN, build_family, find_family
from fomm.swap.families.autoencoder import Autoencoder
from fomm.swap.families.blocks import (
    PatchDiscriminator,
    SelfAttention,
    cross_entropy,
    draw_latent,
    hinge,
    kl_divergence,
    least_squares,
    mask_loss,
    picture_loss,
)
from fomm.swap.families.conv_vae import ConvVAE
from fomm.swap.families.cyclegan import POOL, CycleGAN, Pool
from fomm.swap.families.sagan import SAGAN
from fomm.swap.families.vae import VAE
from fomm.swap.families.vae_gan import VAEGAN, FeatureDiscriminator
from fomm.swap.family import count_parameters
from fomm.swap.run import Run

ALL = {**FAMILIES, **PLAIN}
CPU = torch.device("cpu")


def random_batch(count=2, size=32) -> Batch:
    rng = torch.Generator().manual_seed(0)

    def side() -> Side:
        pictures = torch.rand(2, count, 3, size, size, generator=rng)
        masks = (torch.rand(2, count, 1, size, size, generator=rng) < 0.5).float()
        return Side(*pictures, *masks)

    return Batch(side(), side())


def total(losses) -> float:
    return sum(value.item() for value in losses.values())


# -- every family ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [32, 64, 96])
def test_faces_and_masks_come_out_as_large_as_they_went_in(name, size):
    family = build_family(name, {"size": size, "width": 4}).eval()
    for side in "ab":
        picture, mask = family.swap(torch.rand(2, 3, size, size), side)
        assert picture.shape == (2, 3, size, size) and mask.shape == (2, 1, size, size)
        for values in (picture, mask):
            assert values.dtype == torch.float32 and values.min() >= 0 and values.max() <= 1
    with pytest.raises(InputError, match="side is a or b, whose face comes out, not 'c'"):
        family.swap(torch.rand(1, 3, size, size), "c")


@pytest.mark.parametrize("name", ALL)
def test_all_that_swaps_learns_and_each_player_moves_only_itself(name):
    torch.manual_seed(0)
    family = build_family(name, {"size": 32, "width": 4})
    own = [set(family.find_parameters(player)) for player in family.players]
    assert set().union(*own) == set(family.parameters())
    assert len(set().union(*own)) == sum(map(len, own))
    family.requires_grad_(False)
    for parameter in family.find_parameters("faces"):
        parameter.requires_grad_(True)
    sum(family.losses(random_batch(), "faces").values()).backward()
    without = [key for key, parameter in family.faces.named_parameters() if parameter.grad is None]
    assert not without
    assert all(parameter.grad is None for group in own[1:] for parameter in group)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in ALL),
        ("autoencoder", {"staged": True}),
    ],
)
def test_its_loss_falls_and_who_is_shown_by_the_own_side_is_shown_best(name, settings):
    torch.manual_seed(0)
    family = build_family(name, {"size": 32, "width": 8, **settings})
    family.rates = dict.fromkeys(family.players, 0.002)
    run, sides, steps = Run(family, CPU), (draw_side("a"), draw_side("b")), 30 if name == "cyclegan" else 60
    sums = []
    for step in range(steps):
        torch.manual_seed(step)
        batch = draw_batch(*sides, 4, torch.Generator().manual_seed(step), paired=family.paired)
        losses = run.make_step(batch, step / steps, "float32")
        of_faces = [key for key in losses if not key.startswith(("adversary", "discriminator", "features"))]
        sums.append(sum(losses[key].item() for key in of_faces) / len(of_faces))
    family.eval()
    assert sum(sums[-5:]) < 0.6 * sum(sums[:5])
    if family.paired:  # it has no way from a side to itself
        return
    for side, pictures in zip("ab", sides, strict=True):
        x = normalise(pictures.pictures)
        own, other = (
            (family.swap(x, through)[0] - x).abs().mean() for through in (side, "ba"["ab".index(side)])
        )
        assert own < other, (side, own, other)


@pytest.mark.parametrize("name", ALL)
def test_what_a_module_says_of_its_parameters(name):
    text = importlib.import_module(ALL[name].__module__).__doc__
    for preset, size in (("quick", 64), ("full", 128)):
        with torch.device("meta"):
            family = ALL[name](size=size, **ALL[name].presets[preset])
        assert f"{count_parameters(family.parameters()):,}" in " ".join(text.split()), preset


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 60}, "size is a multiple of 16 between 32 and 512 pixels, not 60"),
        ({"size": 1024}, "size is a multiple"),
        ({"size": 64.0}, "size is a multiple"),
        ({"size": True}, "size is a multiple"),
        ({"size": 64, "width": 0}, "width of vae is a number from 1 to 4096, not 0"),
        ({"size": 64, "width": 10**9}, "width of vae is"),
        ({"size": 64, "spread": -1.0}, "spread of vae is"),
        ({"size": 64, "spread": math.nan}, "spread of vae is"),
        ({"size": 64, "height": 3}, "vae does not take these settings"),
        ({"size": 64, "width": "8"}, "width of vae is"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(InputError, match=message):
        build_family("vae", settings)


def test_names():
    assert find_family("cyclegan") is find_family("cyclegan", plain=True) is CycleGAN
    with pytest.raises(
        InputError, match="there is no family 'gan'; choose one of autoencoder, vae, conv_vae"
    ):
        find_family("gan")
    with pytest.raises(InputError, match="pix2pix learns from folders of any pictures: give two, and --any"):
        find_family("pix2pix")
    with pytest.raises(
        InputError, match="vae learns from faces; for folders of any pictures take cyclegan or"
    ):
        find_family("vae", plain=True)


# -- losses by hand ----------------------------------------------------------------------------------


def test_kl_by_hand():
    mean, log_variance = (
        torch.tensor([[0.0, 1.0], [2.0, 0.0]]),
        torch.tensor([[0.0, 0.0], [0.0, math.log(4)]]),
    )
    # -1/2 (1 + 0 - 1 - 1) = 1/2;  -1/2 (1 + 0 - 4 - 1) - 1/2 (1 + log 4 - 0 - 4) = 2 + 3/2 - log 2
    expected = torch.tensor([0.5, 3.5 - math.log(2)])
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)
    drawn = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (0.5 * log_variance).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(kl_divergence(mean, log_variance), drawn.sum(1))


def test_latents_are_drawn_with_their_mean_and_deviation():
    torch.manual_seed(0)
    z = draw_latent(torch.full((20_000,), 3.0), torch.full((20_000,), math.log(4)))
    assert abs(z.mean() - 3) < 0.05 and abs(z.std() - 2) < 0.05


def test_adversarial_losses_by_hand():
    values = torch.tensor([0.0, 2.0])
    assert least_squares(values, 1).item() == 1.0  # (1 + 1) / 2
    assert least_squares(values, 0).item() == 2.0  # (0 + 4) / 2
    entropy = [math.log(1 + math.exp(-value)) for value in (0.0, 2.0)]
    assert math.isclose(cross_entropy(values, 1).item(), sum(entropy) / 2, rel_tol=1e-6)
    assert math.isclose(cross_entropy(values, 0).item(), (sum(entropy) + 2) / 2, rel_tol=1e-6)
    assert hinge(torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])).item() == 0.25 + 0.5


def test_picture_and_mask_losses_by_hand():
    picture, target = torch.full((1, 3, 1, 3), 0.5), torch.tensor([0.5, 0.75, 1.0]).expand(1, 3, 1, 3)
    side = Side(target, target, torch.tensor([[[[0.0, 1.0, 1.0]]]]), torch.tensor([[[[0.0, 0.0, 1.0]]]]))
    assert math.isclose(picture_loss(picture, side).item(), (0.25 + 0.5 + 0.25 + 0.25) / 2.2, rel_tol=1e-6)
    assert math.isclose(
        picture_loss(picture, side, eyes=3.0).item(), (0.25 + 4 * 0.5 + 0.25 + 4 * 0.25) / 5.2, rel_tol=1e-6
    )
    assert math.isclose(
        mask_loss(torch.full((1, 1, 1, 3), 0.25), side).item(), (0.25 + 2 * 0.75) / 3, rel_tol=1e-6
    )


# -- attention ---------------------------------------------------------------------------------------


def test_attention_begins_as_the_identity_and_then_is_that_of_the_paper():
    torch.manual_seed(0)
    layer, x = SelfAttention(16).eval(), torch.randn(2, 16, 3, 5)
    assert torch.equal(layer(x), x)
    with torch.no_grad():
        layer.gamma.fill_(0.5)
    flat = x.flatten(2)  # BxCxN
    f, g, h, v = (part.weight.flatten(1) for part in (layer.f, layer.g, layer.h, layer.v))
    beta = torch.softmax((f @ flat).transpose(1, 2) @ (g @ flat), dim=1)  # over i, for each j
    expected = 0.5 * (v @ ((h @ flat) @ beta)).unflatten(2, (3, 5)) + x
    torch.testing.assert_close(layer(x), expected)
    for part in (f, g, h, v):  # the spectral norm
        torch.testing.assert_close(torch.linalg.matrix_norm(part, 2), torch.tensor(1.0), atol=0.1, rtol=0)


def test_attention_is_at_two_levels_of_each_network_of_sagan():
    family = SAGAN(size=64, width=4)
    for network in (*family.faces.values(), *family.discriminator.values()):
        seen = []
        for layer in network.modules():
            if isinstance(layer, SelfAttention):
                layer.register_forward_hook(
                    lambda layer, inputs, output, seen=seen: seen.append(output.shape[-1])
                )
        x = torch.rand(1, 3, 64, 64)
        network(family.encode(x) if network in (family.faces["decoder_a"], family.faces["decoder_b"]) else x)
        assert sorted(set(seen)) == [8, 16]
    gammas = [value for key, value in family.faces.named_parameters() if key.endswith("gamma")]
    assert len(gammas) == 6 and all(gamma == 0 for gamma in gammas)


# -- autoencoder in stages ---------------------------------------------------------------------------


def test_stages_train_the_encoder_first_and_then_each_decoder_with_it_frozen():
    torch.manual_seed(0)
    family = Autoencoder(size=32, width=4, staged=True)
    run, batch = Run(family, CPU), random_batch()

    def weights() -> dict[str, torch.Tensor]:
        return {key: value.clone() for key, value in family.state_dict().items()}

    moving = []
    for progress in (0.0, 0.49, 0.5, 0.74, 0.75, 0.99):
        before = weights()
        run.make_step(batch, progress, "float32")
        after = weights()
        moving.append(
            {
                key.split(".")[1] if key[0] == "f" else "common"
                for key in after
                if not torch.equal(after[key], before[key])
            }
        )
    assert moving == [{"encoder", "common"}] * 2 + [{"decoder_a"}] * 2 + [{"decoder_b"}] * 2


def test_a_decoder_begins_with_what_was_learned_for_both():
    family = Autoencoder(size=32, width=4, staged=True)
    family.begin_stage("decoder_b")
    for one, other in zip(family.common.parameters(), family.faces["decoder_b"].parameters(), strict=True):
        assert torch.equal(one, other)
    rates = [
        round(family.find_rate(progress), 3) for progress in (0, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1)
    ]
    assert rates == [1, 1, 0.5, 1, 1, 1, 1, 0]


# -- variational -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [VAE, ConvVAE])
def test_the_evidence_lower_bound_by_hand(kind):
    family, batch = kind(size=32, width=4, spread=0.1), random_batch()
    mean = torch.full((2, *family.latent_shape), 2.0)
    family.find_posterior = lambda x: (mean, torch.zeros_like(mean))
    torch.manual_seed(3)
    losses = family.losses(batch, "faces")
    torch.manual_seed(3)
    for side, faces in batch._asdict().items():
        picture, _ = family.decode(mean + torch.randn_like(mean), side)
        torch.testing.assert_close(losses[f"picture_{side}"], picture_loss(picture, faces))
        count = math.prod(family.latent_shape)  # each has a KL of 2^2 / 2
        assert math.isclose(losses[f"kl_{side}"].item(), 0.1 * 2 * count / (3 * 32 * 32), rel_tol=1e-5)


@pytest.mark.parametrize("kind", [VAE, ConvVAE, VAEGAN])
def test_latents_of_the_prior_decode_to_faces(kind):
    family = kind(size=32, width=4).eval()
    drawn = [family.sample(3, side, torch.Generator().manual_seed(1))[0] for side in ("a", "b", "a")]
    assert drawn[0].shape == (3, 3, 32, 32)
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])
    z = torch.randn(3, *family.latent_shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(drawn[0], family.decode(z, "a")[0])


def test_conv_vae_keeps_places():
    torch.manual_seed(0)
    family = ConvVAE(size=64, width=8).eval()
    x = torch.rand(1, 3, 64, 64)
    changed = x.clone()
    changed[..., :8, :8] = 0
    moved = (family.encode(x) - family.encode(changed)).abs().sum(1)[0]
    assert moved.shape == (8, 8) and moved[:4, :4].mean() > 3 * moved[4:, 4:].mean()


def test_distance_in_features_by_hand():
    torch.manual_seed(0)
    family, batch = VAEGAN(size=32, width=4), random_batch()
    torch.manual_seed(5)
    losses = family.losses(batch, "faces")
    torch.manual_seed(5)
    mean, log_variance = family.find_posterior(batch.a.warped)
    z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    pictures, _ = family.decode(torch.cat([z, z, torch.randn_like(z)]), "a")
    _, features = family.discriminator["a"](torch.cat([batch.a.target, pictures[:2]]))
    assert features.shape == (4, 16, 4, 4)  # the third convolution's
    expected = 0.5 * (features[:2] - features[2:]).square().mean()
    torch.testing.assert_close(losses["features_a"], expected)
    torch.testing.assert_close(losses["kl_a"], family.prior * kl_divergence(mean, log_variance).mean() / 256)
    logits, _ = family.discriminator["a"](torch.cat([batch.a.target, pictures[2:]]))
    fooled = family.adversary * nn.functional.softplus(-logits[2:]).mean()
    torch.testing.assert_close(losses["adversary_a"], fooled)


def test_the_encoder_is_not_moved_by_the_adversary_and_the_decoder_is():
    family = VAEGAN(size=32, width=4)
    family.losses(random_batch(), "faces")["adversary_a"].backward()
    for parameter in family.faces["encoder"].parameters():
        assert parameter.grad is None or not parameter.grad.any()
    for key, parameter in family.faces["decoder_a"].named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), key


@pytest.mark.parametrize(("wins", "skipped"), [(0.01, False), (10.0, True)])
def test_a_discriminator_that_wins_is_skipped(wins, skipped):
    torch.manual_seed(0)
    family = VAEGAN(size=32, width=4, wins=wins)
    run = Run(family, CPU)
    before = {key: value.clone() for key, value in family.state_dict().items()}
    losses = run.make_step(random_batch(), 0.5, "float32")
    assert all(0.01 < losses[f"discriminator_{side}"] < 10 for side in "ab")
    same = [torch.equal(value, before[key]) for key, value in family.state_dict().items() if key[0] == "d"]
    assert all(same) if skipped else not any(same[::2])


@pytest.mark.parametrize("kind", [VAEGAN, SAGAN])
def test_discriminators_begin_in_the_second_half(kind):
    torch.manual_seed(0)
    run = Run(kind(size=32, width=4), CPU)

    def step(progress):
        before = {key: value.clone() for key, value in run.family.state_dict().items()}
        losses = run.make_step(random_batch(), progress, "float32")
        after = run.family.state_dict()
        moved = {key.split(".")[0] for key, value in after.items() if not torch.equal(value, before[key])}
        return moved, {key.split("_")[0] for key in losses}

    moved, losses = step(0.49)
    assert moved == {"faces"} and "picture" in losses
    assert not losses & {"adversary", "features", "discriminator"}
    moved, losses = step(0.5)
    assert moved == {"faces", "discriminator"} and {"adversary", "discriminator", "picture"} <= losses


def test_features_do_not_depend_on_who_was_seen_before():
    network = FeatureDiscriminator(32, 4).train()
    x = torch.rand(4, 3, 32, 32)
    before = network(x)[0]
    network(torch.rand(8, 3, 32, 32))
    assert torch.equal(network.eval()(x)[0], before)


# -- cyclegan and pix2pix ----------------------------------------------------------------------------


def test_a_patch_is_seventy_pixels():
    network = PatchDiscriminator(3, 4)
    for layer in network:
        if isinstance(layer, nn.InstanceNorm2d):
            layer.forward = lambda x: x  # it would make every place depend on all
    x = torch.rand(1, 3, 256, 256, requires_grad=True)
    result = network(x)
    result[0, 0, 15, 15].backward()
    rows, columns = x.grad.abs().sum((0, 1)).nonzero().T
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == 70
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 1, 6, 6)


class Paint(nn.Module):
    """Makes every picture of one grey, and a mask of one value."""

    def __init__(self, grey: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.logit(torch.tensor(grey)))

    def forward(self, x):
        return self.logit.expand(len(x), 4, *x.shape[2:])


class Judge(nn.Module):
    """Finds the mean of a picture, of its last three channels."""

    def forward(self, x):
        return x[:, -3:].mean((1, 2, 3), keepdim=True)


def grey_batch(a: float, b: float) -> Batch:
    def side(grey: float) -> Side:
        picture = torch.full((2, 3, 32, 32), grey)
        return Side(picture, picture, torch.ones(2, 1, 32, 32), torch.zeros(2, 1, 32, 32))

    return Batch(side(a), side(b))


def test_discriminators_and_the_way_back_of_cyclegan_see_noise():
    torch.manual_seed(0)
    family, batch, seen = CycleGAN(size=32, width=4, noise=0.1), grey_batch(0.5, 0.5), []
    family.faces["a"], family.faces["b"] = Paint(0.25), Paint(0.75)
    family.faces["a"].register_forward_hook(lambda network, inputs, output: seen.append(inputs[0]))
    family.discriminator["a"].register_forward_hook(lambda network, inputs, output: seen.append(inputs[0]))
    family.losses(batch, "faces")
    given, judged, back = seen
    assert given.std() == 0  # what is translated has none
    family.losses(batch, "discriminator")
    for pictures, mean in ((judged, 0.25), (back, 0.75), (seen[3], 0.5), (seen[4], 0.25)):
        assert abs(pictures.mean() - mean) < 0.01 and abs(pictures.std() - 0.1) < 0.005


def test_cyclegan_by_hand():
    family = CycleGAN(size=32, width=4, noise=0.0)
    family.faces["a"], family.faces["b"] = Paint(0.25), Paint(0.75)
    family.discriminator["a"], family.discriminator["b"] = Judge(), Judge()
    batch = grey_batch(0.5, 0.625)
    losses = {key: round(value.item(), 5) for key, value in family.losses(batch, "faces").items()}
    assert losses == {
        "adversary_a": 0.5625,  # (0.25 - 1)^2
        "adversary_b": 0.0625,  # (0.75 - 1)^2
        "cycle_a": 2.5,  # 10 |0.25 - 0.5|
        "cycle_b": 1.25,
        "identity_a": 1.25,  # 5 |0.25 - 0.5|
        "identity_b": 0.625,
        "mask_a": 2.25,  # three times 1 - 0.25
        "mask_b": 0.75,
    }
    losses = {key: round(value.item(), 5) for key, value in family.losses(batch, "discriminator").items()}
    assert losses == {
        "discriminator_a": round(((0.5 - 1) ** 2 + 0.25**2) / 2, 5),
        "discriminator_b": round(((0.625 - 1) ** 2 + 0.75**2) / 2, 5),
    }
    assert family.pools["a"].count == 2


def test_pix2pix_by_hand():
    family = build_family("pix2pix", {"size": 32, "width": 4})
    family.faces["a"], family.faces["b"] = Paint(0.25), Paint(0.75)
    family.discriminator["a"], family.discriminator["b"] = Judge(), Judge()
    batch = grey_batch(0.5, 0.625)
    losses = family.losses(batch, "faces")
    assert math.isclose(losses["picture_b"].item(), 100 * 0.125, rel_tol=1e-5)
    assert math.isclose(losses["adversary_b"].item(), math.log(1 + math.exp(-0.75)), rel_tol=1e-5)
    losses = family.losses(batch, "discriminator")
    expected = (math.log(1 + math.exp(-0.625)) + math.log(1 + math.exp(0.75))) / 2
    assert math.isclose(losses["discriminator_b"].item(), expected, rel_tol=1e-5)


def test_the_pool_gives_older_pictures_back_half_of_the_time():
    torch.manual_seed(0)
    pool = Pool(2)
    first = torch.arange(POOL).float().view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    assert torch.equal(pool.exchange(first), first) and pool.count == POOL
    fresh = torch.arange(1000, 1400).float().view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    given = pool.exchange(fresh)[:, 0, 0, 0]
    assert 150 < (given != fresh[:, 0, 0, 0]).sum() < 250
    held = pool.pictures[:, 0, 0, 0]
    assert sorted([*given.tolist(), *held.tolist()]) == [
        *range(POOL),
        *range(1000, 1400),
    ]  # none twice, none lost


# -- sagan -------------------------------------------------------------------------------------------


def test_sagan_by_hand():
    family = SAGAN(size=32, width=4, adversary=0.5)
    family.decode = lambda z, side: (
        torch.full((len(z), 3, 32, 32), 0.75),
        torch.full((len(z), 1, 32, 32), 0.5),
    )
    family.discriminator["a"], family.discriminator["b"] = Judge(), Judge()
    batch = grey_batch(0.25, 0.5)
    half = torch.ones(2, 1, 32, 32)
    half[..., :16] = 0
    batch = batch._replace(a=batch.a._replace(mask=half))
    losses = {key: round(value.item(), 5) for key, value in family.losses(batch, "faces").items()}
    assert losses["picture_a"] == 0.5 and losses["composed_a"] == 0.25  # y = 0.5 * 0.75 + 0.5 * 0.25
    assert losses["mask_a"] == 0.5
    assert losses["adversary_a"] == round(-0.5 * 0.75 * 0.75, 5)  # half of a's is cut away, and none of b's
    losses = {key: round(value.item(), 5) for key, value in family.losses(batch, "discriminator").items()}
    assert losses["discriminator_a"] == (1 - 0.125) + (1 + 0.5625)
    assert losses["discriminator_b"] == (1 - 0.5) + (1 + 0.5625)


def test_the_discriminator_of_sagan_does_not_see_what_is_no_face():
    torch.manual_seed(0)
    family, batch = SAGAN(size=32, width=4).eval(), random_batch()
    seen = []
    for network in family.discriminator.values():
        network.register_forward_hook(lambda network, inputs, output: seen.append(inputs[0]))
    family.losses(batch, "discriminator")
    real, made = seen[:2]
    assert not (real * (1 - batch.a.mask)).any()
    assert not (made * (1 - torch.cat([batch.a.mask, batch.b.mask]))).any() and made.any()
