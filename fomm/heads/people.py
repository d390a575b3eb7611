"""Random people: a face's shape, its complexion, hair and glasses."""

import numpy as np

from fomm.heads.bust import EYE_CENTRES, SKIN, Bust, load_bust
from fomm.heads.figure import Figure, Person
from fomm.heads.glasses import add_glasses
from fomm.heads.hair import add_hair
from fomm.heads.texture import Complexion, compute_texcoords, draw_texture, measure_above_hairline

# Skin from light to dark, as sRGB-like values; a tone in [0, 1] picks a place between them.
_SKIN_TONES = np.array(
    [[0.95, 0.81, 0.74], [0.91, 0.73, 0.63], [0.85, 0.64, 0.51], [0.74, 0.53, 0.40], [0.60, 0.41, 0.30],
     [0.46, 0.30, 0.21], [0.34, 0.21, 0.15], [0.24, 0.15, 0.11]]
)  # fmt: skip
_HAIR_COLOURS = np.array(
    [[0.02, 0.02, 0.022], [0.03, 0.025, 0.02], [0.06, 0.035, 0.02], [0.10, 0.055, 0.03], [0.20, 0.11, 0.05],
     [0.42, 0.28, 0.12], [0.55, 0.45, 0.28], [0.30, 0.09, 0.04]]
)  # fmt: skip
_GREY = np.array([0.45, 0.45, 0.45])
_IRIS_COLOURS = np.array(
    [[0.20, 0.10, 0.04], [0.10, 0.05, 0.02], [0.18, 0.30, 0.42], [0.20, 0.30, 0.14], [0.30, 0.32, 0.34],
     [0.32, 0.20, 0.08]]
)  # fmt: skip
_LIPSTICKS = np.array([[0.5, 0.05, 0.08], [0.55, 0.15, 0.18], [0.35, 0.05, 0.12], [0.6, 0.2, 0.15]])
_TRAITS = {
    # where the named values of each trait lie, in the order of the columns of ``Bust.phenotype_mask``
    "gender": (0, 1),
    "age": (-1 / 3, 0, 1 / 3, 2 / 3, 1),
    "muscle": (0, 0.5, 1),
    "weight": (0, 0.5, 1),
    "height": (0, 1),
    "proportions": (0, 1),
    "cupsize": (0, 0.5, 1),
    "firmness": (0, 0.5, 1),
}
_WITH_GLASSES = 0.15  # share of the people
BALD, SHORT_HAIR, LONG_HAIR = range(3)


def _weigh_phenotypes(bust: Bust, origins: np.ndarray, traits: dict[str, float]) -> np.ndarray:
    """Return the amount of each phenotype shape: the product of the weights of the traits that it needs."""
    weights = [origins]
    for name, knots in _TRAITS.items():
        weights.append(np.array([np.interp(traits[name], knots, row) for row in np.eye(len(knots))]))
    return np.prod(np.where(bust.phenotype_mask, np.concatenate(weights), 1.0), axis=1)


def _make_local_amounts(bust: Bust, rng: np.random.Generator) -> np.ndarray:
    """Return random amounts of the local shapes. The two sides of a face differ a little."""
    amounts = np.zeros(2 * len(bust.local_names))
    shared: dict[str, float] = {}
    for index, name in enumerate(bust.local_names):
        two_sided = name[:2] in ("l-", "r-")
        trait = name[2:] if two_sided else name
        if trait not in shared:
            shared[trait] = rng.normal(0, 0.28)
        amount = np.clip(shared[trait] + (rng.normal(0, 0.06) if two_sided else 0), -0.8, 0.8)
        amounts[2 * index + int(amount < 0)] = abs(amount)
    return amounts


def _make_complexion(
    rng: np.random.Generator, origins: np.ndarray, male: bool, age: float, style: int
) -> Complexion:
    """Return the random colours of a person of these origins."""
    tone = float(np.clip(origins @ [0.75, 0.3, 0.17] + rng.normal(0, 0.13), 0, 1)) * (len(_SKIN_TONES) - 1)
    knots = np.arange(len(_SKIN_TONES))
    skin = np.array([np.interp(tone, knots, channel) for channel in _SKIN_TONES.T]) ** 1.7
    skin = skin * rng.uniform(0.92, 1.08, 3)
    natural = skin * np.array([1.0, 0.55, 0.55]) * rng.uniform(0.85, 1.1)
    lip = natural if male or rng.random() < 0.5 else _LIPSTICKS[rng.integers(len(_LIPSTICKS))]
    fair = origins[2] > 0.4
    hair = _HAIR_COLOURS[rng.integers(len(_HAIR_COLOURS) if fair else 4)]
    brow = hair * rng.uniform(0.5, 0.9)
    grey = np.clip((age - 0.8) / 0.2 + rng.normal(0, 0.25), 0, 1)
    hair = hair + (_GREY - hair) * grey
    brow = brow + (_GREY - brow) * 0.6 * grey
    beard = rng.uniform(0.25, 0.95) if male and rng.random() < 0.45 else 0.0
    scalp = rng.uniform(0.0, 0.6) if style == BALD else 1.0
    return Complexion(
        skin=skin,
        hair=hair * rng.uniform(0.85, 1.15, 3),
        brow=brow,
        lip=lip,
        redness=rng.random(),
        freckles=rng.uniform(0.4, 1.0) if rng.random() < 0.2 else 0.0,
        blotches=rng.random(),
        beard=beard,
        moustache=beard if rng.random() < 0.7 else float(male) * rng.choice([0.0, 0.8], p=[0.85, 0.15]),
        eye_shadow=rng.uniform(0, 0.8) * (0.3 if male else 1.0),
        brow_height=rng.normal(0, 0.0015),
        brow_thickness=rng.uniform(0.7, 1.4),
        brow_strength=rng.uniform(0.6, 0.95),
        scalp_hair=scalp,
        hairline_shift=rng.normal(0, 0.004) + (0.01 * rng.random() if male else 0.0),
    )


def _raise_hair(
    bust: Bust, vertices: np.ndarray, rng: np.random.Generator, style: int, shift: float
) -> np.ndarray:
    """Return the vertices with the scalp pushed outwards by the thickness of the hair."""
    from fomm.heads.kernels import compute_normals

    thickness = rng.uniform(0.004, 0.022) if style == SHORT_HAIR else 0.004
    x, y, z = bust.template.T
    (fx, fy), (px, py) = rng.uniform(30, 90, 2), rng.uniform(0, 2 * np.pi, 2)
    waves = 1 + 0.3 * np.sin(x * fx + px) * np.sin(y * fy + py)
    on_scalp = (bust.vertex_parts == SKIN) & (z > 0.63) & (y > -0.125)
    height = np.clip(measure_above_hairline(bust.template, shift) / 0.03, 0, 1) ** 0.7 * on_scalp
    normals = compute_normals(vertices, bust.faces[bust.parts == SKIN])
    return vertices + normals * (height * thickness * waves)[:, None]


def make_figure(rng: np.random.Generator) -> Figure:
    """Return the bald head of the person that ``make_person`` returns for the same state of ``rng``."""
    return _make_bald_figure(rng)[0]


def _make_bald_figure(rng: np.random.Generator) -> tuple[Figure, np.ndarray, dict[str, float]]:
    """Return a random bald head, the weights of its 3 origins, and its other traits by name, in [0, 1]."""
    bust = load_bust()
    origins = rng.dirichlet([0.6] * 3)
    traits = dict.fromkeys(_TRAITS, 0.5)
    traits |= {"gender": rng.random(), "age": rng.uniform(0.5, 1.0), "muscle": rng.uniform(0.3, 0.7)}
    traits |= {"weight": rng.uniform(0.2, 0.85), "proportions": rng.uniform(0.3, 1.0)}
    amounts = _weigh_phenotypes(bust, origins, traits)
    move = bust.sum_shapes(bust.phenotype_shapes, amounts, bust.phenotype_step)
    move = move + bust.sum_shapes(bust.local_shapes, _make_local_amounts(bust, rng), bust.shape_step)
    joints = bust.joints + np.stack(
        [move[weight > min(0.5, 0.9 * weight.max())].mean(0) for weight in bust.skin_weights.T]
    )
    vertices = np.ascontiguousarray(bust.template + move)
    return Figure(vertices, bust.skin_weights, joints), origins, traits


def make_person(rng: np.random.Generator) -> Person:
    """Return a person of random origins, age, build, features, complexion and hair.

    This takes about half a second.
    """
    bust = load_bust()
    figure, origins, traits = _make_bald_figure(rng)
    vertices = figure.vertices
    male = traits["gender"] < 0.5
    style = int(rng.choice(3, p=[0.15, 0.60, 0.25] if male else [0.04, 0.31, 0.65]))
    complexion = _make_complexion(rng, origins, male, traits["age"], style)
    if style != BALD:
        vertices = _raise_hair(bust, vertices, rng, style, complexion.hairline_shift)
    person = Person(
        vertices=vertices,
        template=bust.template,
        skin_weights=figure.skin_weights,
        joints=figure.joints,
        faces=bust.faces,
        parts=bust.parts,
        texcoords=compute_texcoords(bust.template),
        texture=draw_texture(complexion, int(rng.integers(1 << 30))),
        eye_centres=EYE_CENTRES,
        iris=_IRIS_COLOURS[rng.integers(len(_IRIS_COLOURS))] * rng.uniform(0.8, 1.2),
        iris_radius=rng.uniform(0.40, 0.47),
        teeth=np.array([0.75, 0.72, 0.62]) * rng.uniform(0.8, 1.05),
        tongue=np.array([0.5, 0.18, 0.17]) * rng.uniform(0.85, 1.15, 3),
        hair=complexion.hair,
        glasses=np.zeros(3),
    )
    if style == LONG_HAIR:
        person = add_hair(person, rng)
    return add_glasses(person, rng) if rng.random() < _WITH_GLASSES else person
