import numpy as np
import pytest

from fomm.evaluation import metrics
from fomm.evaluation.metrics import Box

pytestmark = pytest.mark.smoke


def test_face_box_by_hand():
    points = np.array([[10.0, 20.0], [30.0, 60.0], [20.0, 30.0]])  # 20 wide, 40 high
    assert metrics.face_box(points, (100, 100), margin=0.0) == (10, 20, 30, 60)
    assert metrics.face_box(points, (100, 100), margin=0.25) == (5, 10, 35, 70)
    assert metrics.face_box(points + 0.5, (100, 100), margin=0.25) == (
        5,
        10,
        36,
        71,
    )  # outwards to whole pixels
    assert metrics.face_box(points, (64, 32), margin=0.25) == (5, 10, 32, 64)  # cut at the border
    assert metrics.face_box(points - 200, (64, 32)) == (0, 0, 1, 1)  # never empty
    assert metrics.face_box(points + 200, (64, 32)) == (31, 63, 32, 64)


def test_l1_by_hand():
    one = np.zeros((4, 4, 3), np.float32)
    other = one.copy()
    other[1, 2] = 0.6
    assert metrics.l1(one, other) == pytest.approx(0.6 / 16)
    assert metrics.l1(one, other, Box(2, 0, 4, 2)) == pytest.approx(
        0.6 / 4
    )  # columns 2 and 3 of rows 0 and 1
    assert metrics.l1(one, other, Box(0, 1, 2, 4)) == 0


def test_correlation_by_hand():
    one = np.array([0.0, 1.0, 2.0, 3.0])
    assert metrics.correlation(one, 5 - 2 * one) == pytest.approx(-1)
    # Deviations (-1.5, -.5, .5, 1.5) and (-.5, .5, -.5, .5): 1 / sqrt(5 * 1).
    assert metrics.correlation(one, np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(1 / np.sqrt(5))
    noise = np.random.default_rng(0).normal(size=(2, 50))
    assert metrics.correlation(*noise) == pytest.approx(np.corrcoef(noise)[0, 1])


def test_correlation_leaves_out_what_was_not_seen():
    nan = float("nan")
    one = np.array([0.0, nan, 1.0, 2.0, 9.0])
    other = np.array([0.0, 50.0, 2.0, 4.0, nan])
    assert metrics.correlation(one, other) == pytest.approx(1)
    assert np.isnan(metrics.correlation(one[:3], other[:3]))  # two moments are left


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_constant_series_has_no_correlation(value):
    assert np.isnan(metrics.correlation(np.full(7, value), np.arange(7.0)))
    assert np.isnan(metrics.correlation(np.arange(7.0), np.full(7, value)))


def test_noise_of_single_precision_is_constant():
    noise = np.random.default_rng(0).normal(size=50)
    assert np.isnan(metrics.correlation(30 + 1e-4 * noise, noise))
    assert metrics.correlation(30 + 1e-2 * noise, noise) == pytest.approx(1)


def test_centred():
    np.testing.assert_array_equal(metrics.subtract_mean(np.array([1.0, np.nan, 3.0])), [-1, np.nan, 1])
    assert np.isnan(metrics.subtract_mean(np.full(3, np.nan))).all()


def test_sharpness_by_hand():
    image = np.zeros((5, 4, 3))
    image[2, 1] = 1  # luma 1: the Laplacian of the 3x2 inner pixels is 1 1, -4 1 -> rows (1 0), (-4 1), (1 0)
    assert metrics.sharpness(image) == pytest.approx(np.var([1, 0, -4, 1, 1, 0]))
    assert metrics.sharpness(image, Box(0, 0, 4, 3)) == pytest.approx(np.var([1, 0]))
    assert metrics.sharpness(image, Box(0, 0, 2, 2)) == 0
    green = np.zeros((5, 4, 3))
    green[2, 1, 1] = 1
    assert metrics.sharpness(green) == pytest.approx(0.587**2 * metrics.sharpness(image))


def test_a_blurred_picture_is_less_sharp():
    image = np.random.default_rng(3).random((20, 20, 3))
    blurred = (image + np.roll(image, 1, 0) + np.roll(image, 1, 1)) / 3
    assert metrics.sharpness(blurred) < 0.5 * metrics.sharpness(image)


def test_blurring_takes_noise_out_of_sharpness():
    rng = np.random.default_rng(5)
    step = np.zeros((40, 40, 3))
    step[:, 20:] = 1
    noisy = step + 0.05 * rng.normal(size=(40, 40, 1))
    raw = metrics.sharpness(noisy) / metrics.sharpness(step)
    blurred = metrics.sharpness(noisy, blur=1.0) / metrics.sharpness(step, blur=1.0)
    assert raw > 1.9 and blurred == pytest.approx(1, abs=0.15)


def test_squared_error_and_psnr_by_hand():
    one, other = np.zeros((2, 2, 3), np.float32), np.zeros((2, 2, 3), np.float32)
    other[0, 0] = 0.2  # 0.04 in a quarter of the pixels
    assert metrics.squared_error(one, other) == pytest.approx(0.01)
    assert metrics.psnr(0.01) == pytest.approx(20)
    assert metrics.psnr(1.0) == 0
    assert metrics.psnr(0.0) == 100


def noisy_pair(shape):
    rng = np.random.default_rng(6)
    one = rng.random(shape)
    return one, (one + 0.2 * rng.normal(size=shape)).clip(0, 1)


def test_psnr_is_that_of_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio

    one, other = noisy_pair((32, 32, 3))
    assert metrics.psnr(metrics.squared_error(one, other)) == pytest.approx(
        peak_signal_noise_ratio(one, other, data_range=1), abs=1e-9
    )


@pytest.mark.parametrize("shape", [(32, 32, 3), (11, 40, 3), (64, 48, 3)])
def test_ssim_is_the_papers_equation_13(shape):
    """The equation written out, for each window of 11x11 pixels and each channel."""
    one, other = noisy_pair(shape)
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets**2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2

    def mean(image):
        return (np.lib.stride_tricks.sliding_window_view(image, (11, 11), axis=(0, 1)) * weights).sum(
            (-1, -2)
        )

    x, y = mean(one), mean(other)
    variance_x, variance_y, covariance = mean(one**2) - x**2, mean(other**2) - y**2, mean(one * other) - x * y
    wanted = (2 * x * y + 0.0001) * (2 * covariance + 0.0009)
    wanted /= (x**2 + y**2 + 0.0001) * (variance_x + variance_y + 0.0009)
    assert metrics.ssim(one, other) == pytest.approx(wanted.mean(), abs=1e-9)
    narrow = one.astype(np.float32), other.astype(np.float32)  # computed in double precision all the same
    assert metrics.ssim(*narrow) == pytest.approx(wanted.mean(), abs=1e-6)


def test_ssim_by_hand():
    grey, white = np.full((16, 16, 3), 0.5), np.ones((16, 16, 3))
    assert metrics.ssim(grey, grey) == pytest.approx(1)
    # No variance: (2 * 0.5 * 1 + 0.0001) / (0.25 + 1 + 0.0001).
    assert metrics.ssim(grey, white) == pytest.approx(1.0001 / 1.2501)
    assert np.isnan(metrics.ssim(grey[:10], white[:10]))


def test_still_region_by_hand():
    frames = np.full((3, 30, 40, 3), 0.5)
    frames[1, :, 30:] = 0.56  # beyond the allowed 0.04; the blur reaches a few columns to either side
    still = metrics.still_region(frames)
    assert still[:, :24].all() and not still[:, 33:].any()
    assert metrics.still_region(frames, change=0.07).all()


def test_flicker_by_hand():
    region = np.zeros((20, 20), bool)
    region[5:15, 5:15] = True
    ramp = np.stack([np.full((20, 20, 3), level) for level in (0.1, 0.2, 0.3, 0.4)])
    assert metrics.flicker(ramp, region) == pytest.approx(0, abs=1e-9)  # steady drift
    # 0, 1, 0, 0 in hundredths: second differences -2 and 1, so 1.5 hundredths of 255.
    jump = np.stack([np.full((20, 20, 3), level) for level in (0.0, 0.01, 0.0, 0.0)])
    assert metrics.flicker(jump, region) == pytest.approx(255 * 0.015)
    jump[:, ~region] = np.random.default_rng(0).random((4, 300, 3))
    assert metrics.flicker(jump, region, blur=0) == pytest.approx(255 * 0.015)  # nothing outside counts
    assert np.isnan(metrics.flicker(jump[:2], region))
    assert np.isnan(metrics.flicker(jump, np.zeros((20, 20), bool)))


def test_point_distance_by_hand():
    one = np.zeros((2, 4, 2))
    other = one.copy()
    other[0, 1] = (3, -5)  # 8 over 8 coordinates
    other[1, 0, 0] = np.nan
    np.testing.assert_array_equal(metrics.point_distance(one, other), [1, np.nan])


def test_identity_distance_by_hand():
    one = np.array([[3.0, 0.0], [0.0, 0.0]], np.float32)
    other = np.array([[0.0, 4.0], [np.nan, 0.0]], np.float32)
    np.testing.assert_array_equal(metrics.identity_distance(one, other), [5, np.nan])
    np.testing.assert_array_equal(metrics.identity_distance(one, one[0]), [0, 3])


def test_missing_counts_where_a_face_is_expected():
    expected, found = np.array([True, True, False, False]), np.array([True, False, True, False])
    np.testing.assert_array_equal(metrics.mark_missing(expected, found), [0, 1, np.nan, np.nan])


def test_frechet_distance_by_hand():
    one = metrics.Gaussian(np.array([0.0, 0.0]), np.diag([1.0, 4.0]))
    other = metrics.Gaussian(np.array([3.0, 4.0]), np.diag([9.0, 4.0]))
    # |(3, 4)|^2 + (1 - 3)^2 + (2 - 2)^2, the roots of the variances.
    assert metrics.frechet_distance(one, other) == pytest.approx(25 + 4)
    assert metrics.frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_is_that_of_the_matrix_root():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(7)
    features = rng.normal(size=(2, 50, 6)) @ rng.normal(size=(2, 6, 6)) + rng.normal(size=(2, 1, 6))
    one, other = (metrics.Gaussian(item.mean(0), np.cov(item.T)) for item in features)
    root = np.trace(sqrtm(one.covariance @ other.covariance).real)
    wanted = np.square(one.mean - other.mean).sum() + np.trace(one.covariance + other.covariance) - 2 * root
    assert metrics.frechet_distance(one, other) == pytest.approx(wanted, rel=1e-9)
    few = metrics.Gaussian(np.zeros(6), np.cov(features[0, :3].T))  # of rank 2
    assert np.isfinite(metrics.frechet_distance(few, other))


def test_gain_by_hand():
    driver = np.array([0.0, 1.0, 2.0, 3.0, np.nan, 9.0])
    result = 7 + 0.5 * driver
    result[5] = np.nan
    assert metrics.gain(driver, result) == pytest.approx(0.5)
    assert metrics.gain(driver, -result) == pytest.approx(-0.5)
    assert metrics.gain(driver, np.full(6, 3.0)) == 0
    assert np.isnan(metrics.gain(np.full(6, 3.0), driver))
    assert np.isnan(metrics.gain(driver[:2], result[:2]))
    # Deviations (-1.5, -.5, .5, 1.5) and (-.5, .5, -.5, .5): 1 / 5.
    assert metrics.gain(driver[:4], np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(0.2)
    noise = np.random.default_rng(0).normal(size=(2, 50))
    assert metrics.gain(*noise) == pytest.approx(np.polyfit(*noise, 1)[0])


def test_breathing_by_hand():
    driver = np.array([10.0, 20.0, 40.0, 80.0])
    assert metrics.breathing(driver, 3 * driver) == pytest.approx(0, abs=1e-9)
    assert metrics.breathing(driver, np.sqrt(driver)) == pytest.approx(0, abs=1e-9)  # it moves half as far
    alone = np.exp([0.02, -0.02, 0.02, -0.02])
    assert metrics.breathing(np.full(4, 50.0), 80 * alone) == pytest.approx(0.02)
    assert np.isnan(metrics.breathing(driver[:2], driver[:2]))


def test_motion_at_rest_by_hand():
    driver = np.array([0.0, 0.0, 0.1, 0.0, 0.0, 5.0, 5.0, 5.0])
    result = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 9.0, 9.0, 9.0])
    # Windows of 3 with the driver within 0.5: frames 0-2, 1-3, 2-4 range by 1 - 0.1 more, 5-7 by 0.
    assert metrics.motion_at_rest(driver, result, 3, 0.5) == pytest.approx(3 * 0.9 / 4)
    assert metrics.motion_at_rest(driver, driver, 3, 0.5) == 0
    assert metrics.motion_at_rest(driver, 0 * result, 3, 0.5) == 0
    assert np.isnan(metrics.motion_at_rest(np.arange(8.0), result, 3, 0.5))
    assert np.isnan(metrics.motion_at_rest(driver[:2], result[:2], 3, 0.5))
    result[1] = np.nan
    assert metrics.motion_at_rest(driver, result, 3, 0.5) == pytest.approx(0.9 / 2)
