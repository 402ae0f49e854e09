"""The line that tells how far a stage is, and how long it will take yet."""

import pytest

from flows.process.progress import Speed, StageProgress, clock_time, counted


@pytest.fixture
def pretrain(clock):
    """Step 74 of 80 after 83 s, the last of them in one second each."""
    stage = StageProgress("pretrain", clock)
    for step in range(1, 75):
        clock.now = 9.0 + step
        stage.report(step, 80, "steps", "loss 2.310, 12,345 tokens/s")
    return stage


def left(stage):
    return None if stage.left is None else round(stage.left, 6)


def test_the_time_left_follows_the_recent_steps(clock):
    """Slow for the first ten minutes, while something else ran, and ten times as fast since."""
    stage = StageProgress("finetune", clock)
    for step in range(61):
        clock.now = 10.0 * step
        stage.report(step, 1000, "steps", "")
    assert left(stage) == 9400
    for step in range(61, 361):
        clock.now = 600.0 + step - 60
        stage.report(step, 1000, "steps", "")
    assert left(stage) == 640


def test_steps_of_an_earlier_attempt_are_not_counted_as_fast(clock):
    stage = StageProgress("pretrain", clock)
    clock.now = 5.0
    stage.report(500, 1000, "steps", "continuing from a checkpoint")
    assert left(stage) is None
    clock.now = 15.0
    stage.report(501, 1000, "steps", "")
    assert left(stage) == 4990


def test_steps_that_take_longer_than_the_window_have_a_time_left(clock):
    stage = StageProgress("pretrain", clock)
    for step in range(1, 9):
        clock.now = 100.0 * step
        stage.report(step, 10, "steps", "")
    assert left(stage) == 200


def test_evaluations_count_as_often_as_they_come(clock):
    """A minute after every hundred steps of a second each."""
    stage = StageProgress("pretrain", clock)
    for step in range(1, 1001):
        clock.now += 61.0 if step % 100 == 1 else 1.0
        stage.report(step, 2000, "steps", "")
    assert 1400 < stage.left < 1700  # 1600 in truth


def test_it_counts_down_until_the_next_report_is_overdue(clock):
    stage = StageProgress("judge", clock)
    for done in (0, 1, 2):
        clock.now = 20.0 * done
        stage.report(done, 5, "rows", "")
    found = []
    for clock.now in (40.0, 50.0, 60.0, 70.0, 500.0):
        found.append(left(stage))
    assert found == [60, 50, 40, 40, 40]


def test_what_is_counted_next_has_a_speed_of_its_own(clock):
    stage = StageProgress("tokenize", clock)
    for second in range(20):
        clock.now = second
        stage.report(1e6 * second, 0, "bytes", "measuring the corpus")
    assert left(stage) is None
    clock.now = 30.0
    stage.report(0, 100, "bytes", "encoding")
    assert left(stage) is None
    clock.now = 40.0
    stage.report(50, 100, "bytes", "encoding")
    assert left(stage) == 10


def test_a_phase_has_no_count_and_no_time_left(clock):
    stage = StageProgress("finetune", clock)
    stage.phase("check 3 of 12: causality")
    clock.now = 20.0
    assert stage.text() == "finetune: check 3 of 12: causality, 0:20 gone"
    assert stage.line(80).plain == "⠋ finetune                check 3 of 12: causality  0:20 gone"


def test_what_follows_the_last_step_is_told_without_a_time_left(clock):
    stage = StageProgress("finetune", clock)
    for step in (9, 10):
        clock.now = float(step)
        stage.report(step, 10, "steps", "loss 1.000")
    stage.phase("keeping the output")
    assert stage.text() == "finetune: 10/10 steps, keeping the output, 0:10 gone"


def test_a_phase_in_between_leaves_the_speed_as_it_is(clock):
    stage = StageProgress("finetune", clock)
    for step in range(5):
        clock.now = float(step)
        stage.report(step, 10, "steps", "loss 1.000")
    stage.phase("evaluating")
    assert stage.text() == "finetune: 4/10 steps, evaluating, 0:04 gone, 0:06 left"
    clock.now = 5.0
    stage.report(5, 10, "steps", "loss 0.900")
    assert stage.text() == "finetune: 5/10 steps, loss 0.900, 0:05 gone, 0:05 left"


def test_many_reports_a_second_are_not_all_kept():
    speed = Speed()
    for report in range(100_000):
        speed.add(report / 1000, report)
    assert speed.seconds_for(1000, 99.999) == pytest.approx(1.0)
    assert len(speed._points) < 500


def test_line_without_a_terminal_says_what_is_gone_and_left(pretrain):
    assert pretrain.text() == ("pretrain: 74/80 steps, loss 2.310, 12,345 tokens/s, 1:23 gone, 0:06 left")


BAR, WIDE_BAR = "━" * 11 + "─", "━" * 25 + "───"
LINES = {
    120: f"⠹ pretrain{' ' * 16}{WIDE_BAR}  74/80 steps  loss 2.310, 12,345 tokens/s  1:23 gone, 0:06 left",
    80: f"⠹ pretrain  {BAR}  74/80 steps  loss 2.310  1:23 gone, 0:06 left",
    60: "⠹ pretrain  74/80 steps  loss 2.310  1:23 gone, 0:06 left",
    40: "⠹ pretrain  74/80 steps  0:06 left",
    20: "⠹ pretrain  0:06 l…",
}


@pytest.mark.parametrize("width", LINES)
def test_a_line_leaves_out_what_does_not_fit(pretrain, width):
    assert pretrain.line(width).plain == LINES[width]


@pytest.mark.parametrize("width", range(1, 130))
def test_no_line_is_wider_than_its_terminal(pretrain, width):
    pretrain.report(74, 80, "steps", "读读读" * 40)
    assert pretrain.line(width).cell_len <= max(1, width - 1)


def test_without_a_total_only_the_time_gone_is_told(clock):
    stage = StageProgress("download", clock)
    stage.report(0, 0, "bytes", "python-3.13-docs.zip")
    clock.now = 61.0
    stage.report(1_234_567, 0, "bytes", "python-3.13-docs.zip")
    assert stage.line(80).plain == "⠼ download                1.2 MB  python-3.13-docs.zip  1:01 gone"


PHASES = {
    80: "⠙ pretrain                check 3 of 12: learns one batch  0:05 gone",
    60: "⠙ pretrain  check 3 of 12: learns one batch  0:05 gone",
    50: "⠙ pretrain  check 3 of 12: learns one…  0:05 gone",
    41: "⠙ pretrain  check 3 of 12: l…  0:05 gone",
    25: "⠙ pretrain  0:05 gone",
}


@pytest.mark.parametrize("width", PHASES)
def test_what_is_not_counted_is_told_as_far_as_it_fits(clock, width):
    stage = StageProgress("pretrain", clock)
    clock.now = 5.25
    stage.phase("check 3 of 12: learns one batch")
    assert stage.line(width).plain == PHASES[width]


def test_a_terminal_without_unicode_gets_none(pretrain):
    assert pretrain.line(80, ascii_only=True).plain == (
        "| pretrain  ===========-  74/80 steps  loss 2.310  1:23 gone, 0:06 left"
    )


def test_numbers_are_short():
    assert [clock_time(seconds) for seconds in (0.4, 59.6, 3725)] == ["0:00", "1:00", "1:02:05"]
    assert counted(1_500, 2_000_000, "bytes") == "0.0/2.0 MB"
    assert counted(12, 0, "bytes") == "12 bytes"
    assert counted(1234, 5678, "rows") == "1,234/5,678 rows"
