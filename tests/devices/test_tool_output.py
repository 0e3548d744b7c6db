"""The reader of benchmark_model's output against recorded outputs of every known form, and against
damaged ones."""

from pathlib import Path

import pytest

from pnas_tf.devices.benchmark_tool.op_profile import parse_profile
from pnas_tf.devices.benchmark_tool.output import STATISTICS, RunStatistics, parse_report
from pnas_tf.devices.failures import GarbledOutput, ToolFailed

RECORDED = Path(__file__).parent / "tool_outputs"

# Read off the recordings by eye: (file, count, avg us, median us, warm-up count)
SEEN = [
    ("android_2019.txt", 15, 66767.6, None, 7),
    ("android_2020.txt", 50, 33209.4, None, 15),
    ("riscv_profile.txt", 50, 2950340.0, None, 1),
    ("info_percentiles.txt", 50, 1240270.0, 1239807.0, 1),
    ("termux_2168_nodes.txt", 1000, 63743.2, 51891.0, 9),
    ("logcat.txt", 25, 145528.0, 141253.0, 3),
    ("logcat_brief.txt", 25, 145528.0, 141253.0, 3),
    ("gpu_and_nnapi.txt", 50, 309350.0, 307968.0, 2),
    ("litert_sme2.txt", 2112, 464.545, 462.0, 1055),
    ("litert_docs.txt", 50, 85230.0, None, 1),
    ("litert_python.txt", 50, 85230.0, 84500.0, 5),
    ("litert_python_2_3_0.txt", 30, 87120.0, 85170.0, 5),
]


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


@pytest.mark.parametrize(
    ("name", "count", "avg", "median", "warmups"),
    SEEN,
    ids=[row[0] for row in SEEN],
)
def test_every_recorded_form_gives_the_figures_it_shows(name, count, avg, median, warmups):
    report = parse_report(recorded(name))
    printed = report.inference.us
    assert (report.inference.count, printed["avg"], printed.get("median")) == (
        count,
        pytest.approx(avg),
        median,
    )
    assert report.warmup is not None and report.warmup.count == warmups
    assert report.inference.best() == (
        ("median", median) if median else ("mean", pytest.approx(avg))
    )
    assert printed["min"] <= avg <= printed["max"]


def test_every_successful_recording_is_in_the_list_above():
    others = {
        "thermalservice.txt",
        "wrong_architecture.txt",
        "hexagon_failed.txt",
        "xnnpack_failed.txt",
        "nnapi_failed.txt",
    }
    assert {path.name for path in RECORDED.glob("*.txt")} - others == {row[0] for row in SEEN}


def test_carriage_returns_of_an_old_adb_change_nothing():
    assert parse_report(recorded("android_2020.txt").replace("\n", "\r\n")) == parse_report(
        recorded("android_2020.txt")
    )


def test_a_single_run_and_equal_runs_have_no_spread():
    single = (
        "count=0\ncount=1 curr=7\nInference timings in us: Init: 1, First inference: 7, Warmup "
        "(avg): 7, Inference (avg): 7"
    )
    assert parse_report(single).inference == RunStatistics(
        1, {"first": 7.0, "min": 7.0, "max": 7.0, "avg": 7.0, "std": 0.0}
    )
    equal = (
        "count=0\ncount=3 curr=12(all same) p5=12 median=12 p95=12\n"
        "Inference timings in us: Init: 1, "
        "First inference: 9, "
        "Warmup (avg): 9, Inference (avg): 12"
    )
    assert parse_report(equal).inference == RunStatistics(
        3, {**dict.fromkeys(STATISTICS, 12.0), "std": 0.0}
    )


def test_a_delegate_that_took_nothing_is_named():
    assert parse_report(recorded("logcat.txt")).delegates.unused == ()
    assert parse_report(recorded("gpu_and_nnapi.txt")).delegates.unused == ("nnapi",)


# What loggers that were met or are documented put before and behind each line.
LOGGERS = {
    "brief": ("I/tflite  (22838): ", ""),
    "brief_uid": ("I/tflite  (10123:22838): ", ""),
    "process": ("I(22838) ", "  (tflite)"),
    "thread": ("I(22838:22839) ", ""),
    "tag": ("I/tflite  : ", ""),
    "time": ("07-14 13:14:52.099 I/tflite  (22838): ", ""),
    "year": ("2024-07-14 13:14:52.099 22838 22838 I tflite  : ", ""),
    "usec": ("07-14 13:14:52.099123 22838 22838 I tflite  : ", ""),
    "zone": ("2024-07-14 13:14:52.099123 +0200 22838 22838 I tflite  : ", ""),
    "epoch": ("      1720955692.099 22838 22838 I tflite  : ", ""),
    "uid": ("07-14 13:14:52.099 10123 22838 22838 I tflite  : ", ""),
    "uid_name": ("07-14 13:14:52.099 u0_a816 22838 22838 I tflite  : ", ""),
    "hyphen": ("07-14 13:14:52.099 22838 22838 I tflite-benchmark: ", ""),
    "spaces": ("07-14 13:14:52.099 22838 22838 I TFLite Benchmark : ", ""),
    "studio_old": (
        "2020-07-14 13:14:52.099 22838-22839/org.tensorflow.lite.benchmark I/tflite: ",
        "",
    ),
    "studio": (
        "2024-07-14 13:14:52.099 22838-22838 tflite      org.tensorflow.lite.benchmark      I  ",
        "",
    ),
    "colour": ("\x1b[38;5;40m07-14 13:14:52.099 22838 22838 I tflite  : ", "\x1b[0m"),
    "colour_plain": ("\x1b[0;32m", "\x1b[0m\x1b[K"),
    "glog": ("I0714 13:14:52.099123 22838 benchmark_model.cc:123] ", ""),
    "glog_year": ("I20240714 13:14:52.099123 22838 benchmark_model.cc:123] ", ""),
    "absl_early": ("I0000 00:00:1720955692.099123   22838 benchmark_model.cc:123] ", ""),
    "tensorflow": ("2024-07-14 13:14:52.099123: I tensorflow/lite/tools/logging.cc:61] ", ""),
    "warn": ("WARN: ", ""),
    "both": ("07-14 13:14:52.099 22838 22838 I tflite  : INFO: [./litert/tools/x-y.h:88] ", ""),
}


@pytest.mark.parametrize("logger", LOGGERS)
@pytest.mark.parametrize("name", ["info_percentiles.txt", "litert_docs.txt", "gpu_and_nnapi.txt"])
def test_what_a_logger_puts_around_a_line_changes_nothing(logger, name):
    before, behind = LOGGERS[logger]
    lines = [line.removeprefix("INFO: ") for line in recorded(name).splitlines()]
    logged = "\n".join(f"{before}{line}{behind}" for line in lines)
    assert parse_report(logged) == parse_report(recorded(name))


def test_a_failure_behind_a_loggers_prefix_is_told_too():
    lines = recorded("nnapi_failed.txt").splitlines()
    with pytest.raises(ToolFailed) as failure:
        parse_report("\n".join(f"E/tflite-x (12): \x1b[31m{line}\x1b[0m" for line in lines))
    assert "ANEURALNETWORKS_BAD_DATA" in failure.value.received


@pytest.mark.parametrize(
    ("unit", "factor"), [("us", 1e-3), ("µs", 1e-3), ("ns", 1e-6), ("s", 1e3), ("ms", 1.0)]
)
def test_the_litert_tools_say_the_unit_of_their_figures(unit, factor):
    text = recorded("litert_python.txt").replace(" ms", f" {unit}")
    report, plain = parse_report(text), parse_report(recorded("litert_python.txt"))
    for found, known in ((report.inference, plain.inference), (report.warmup, plain.warmup)):
        assert found.count == known.count
        assert found.us == pytest.approx({name: us * factor for name, us in known.us.items()})
    assert report.unit_printed == unit


def test_a_unit_is_that_of_its_line_and_the_summary_must_agree_with_the_finer_line():
    mixed = (
        "Inference (avg): 0.85 s (50 runs)\nInference (median): 845.00 ms\nInference (std): 3.21"
    )
    printed = parse_report(mixed).inference.us
    assert printed == {"avg": 850e3, "median": 845e3, "std": 3210.0}
    with pytest.raises(GarbledOutput, match="contradict"):
        parse_report(
            recorded("litert_sme2.txt").replace(
                "Inference (avg):      0.46 ms", "Inference (avg):      0.46 s"
            )
        )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hexagon_failed.txt", "Failed to apply Hexagon delegate"),
        ("xnnpack_failed.txt", "Failed to apply XNNPACK delegate"),
        ("nnapi_failed.txt", "ANEURALNETWORKS_BAD_DATA"),
    ],
)
def test_a_failure_is_told_in_the_tools_own_words(name, words):
    with pytest.raises(ToolFailed) as failure:
        parse_report(recorded(name))
    assert words in failure.value.received


@pytest.mark.parametrize("name", [row[0] for row in SEEN])
def test_an_output_cut_before_its_result_line_is_garbled(name):
    lines = recorded(name).splitlines()
    last = next(
        number
        for number, line in enumerate(lines)
        if "Inference timings" in line or "inference timings" in line or "Inference (avg)" in line
    )
    with pytest.raises(GarbledOutput):
        parse_report("\n".join(lines[:last]))


def test_a_summary_that_contradicts_the_count_line_is_garbled():
    with pytest.raises(GarbledOutput, match="contradict"):
        parse_report(
            recorded("android_2020.txt").replace(
                "Inference (avg): 33209.4", "Inference (avg): 3320.94"
            )
        )


SUMMARY = (
    "Inference timings in us: Init: 1, First inference: 7, Warmup (avg): 900, Inference (avg): 901"
)


@pytest.mark.parametrize(
    "lines",
    [
        "count=9 first=905 curr=900 min=890 max=910 avg=900 std=5",  # the other is lost
        "count=9 first=905 curr=900 min=890 max=910 avg=900 std=5\ncount=50 first=9 avg=9o1",
        "count=9 first=905 avg=900 std=5\ncount=4 first=905 curr=900 min=890 max=910 avg=901 st",
        "Warmup (avg): 0.90 ms (9 runs)",
        "Warmup (avg): 0.90 ms (9 runs)\nInference (avg): n/a",
    ],
)
def test_the_warm_ups_are_never_taken_for_the_timed_runs(lines):
    """Though their average is what the summary says, within its precision."""
    with pytest.raises(GarbledOutput):
        parse_report(f"{lines}\n{SUMMARY}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "Permission denied",
        "count=50 first=1 curr=2",
        "Inference timings in us: Init: 855",
        "count=0\nInference timings in us: Init: 1, First inference: 0, Warmup (avg): 0, "
        "Inference (avg): 0",
    ],
)
def test_nothing_is_ever_guessed(text):
    with pytest.raises(GarbledOutput):
        parse_report(text)


def test_profile_is_the_table_of_the_timed_runs_in_run_order():
    operators = parse_profile(recorded("riscv_profile.txt"))
    assert [operator.node_type for operator in operators] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "CONV_2D",
        "AVERAGE_POOL_2D",
        "SOFTMAX",
    ]
    assert (
        operators[2].avg_ms == 147.808
        and operators[2].percent == 5.011
        and operators[2].times_called == 1
    )
    assert operators[2].name == "[MobilenetV1/MobilenetV1/Conv2d_1_pointwise/Relu6]:2"
    newer = parse_profile(recorded("litert_sme2.txt"))
    assert newer[3].node_type == "Fully Connected (NC, PF32) GEMM" and newer[3].avg_ms == 0.382
    assert parse_profile(recorded("logcat.txt")) == ()


def test_the_profile_of_the_initialisation_is_nobodys_profile():
    """The other table was cut."""
    text = recorded("riscv_profile.txt").partition("Operator-wise Profiling Info")[0]
    assert "AllocateTensors" in text and parse_profile(text) == ()


def test_profile_csv_keeps_commas_of_node_types():
    csv = (
        "============================== Run Order ==============================\n"
        "node type, first, avg_ms, %, cdf%, mem KB, times called, name\n"
        "Convolution (NHWC, F32) IGEMM, 87.754, 60.957, 2.066%, 2.066%, 0, 1, "
        "Delegate/Convolution (NHWC\t F32) IGEMM:0\n"
        "SOFTMAX, 0.23, 0.233, 0.008%, 2.074%, 0, 1, [Predictions]:1\n\n"
        "============================== Top by Computation Time ==============================\n"
    )
    operators = parse_profile(csv)
    assert [(operator.node_type, operator.avg_ms) for operator in operators] == [
        ("Convolution (NHWC, F32) IGEMM", 60.957),
        ("SOFTMAX", 0.233),
    ]
    with pytest.raises(GarbledOutput):
        parse_profile(csv.replace("0.233, ", ""))
