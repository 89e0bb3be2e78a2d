"""The command line: each command is a few options and one call."""

from __future__ import annotations

import argparse
import ast
import os
import sys
import textwrap
import traceback
from collections.abc import Sequence
from typing import Any, get_args

from tinyml import __version__
from tinyml.errors import DeviceError, TinyMLError
from tinyml.ir.devices import ROOMS, find_device

INTERRUPTED = 130  # the shell's status for a process ended by Ctrl-C: 128 + SIGINT
CUT_OFF = 141  # that of a process whose reader has gone: 128 + SIGPIPE

_DESCRIPTION = """\
A minimal reference machine learning framework in pure Python: every operation is one record, and
kernels for CPU and OpenCL devices, gradients and conformance tests are derived from it.
"""
_EXAMPLES = """\
examples:
  tinyml train digits                         learn to read handwriting, in seconds
  tinyml train digits --device opencl         the same on the first OpenCL device
  tinyml train digits --seed 3 --out runs/3   another start, kept elsewhere
  tinyml test digits --weights runs/digits/weights.safetensors
  tinyml doctor                               what works here, and what to do where it does not
  tinyml kernels matmul reshape               how these operations run on each device
  tinyml explain softmax --shape 8,100        its rules, gradients and kernels' source
  tinyml conformance --suite gradients --device opencl --only gelu
  tinyml bench core                           speed beside torch and jax

`tinyml COMMAND --help` lists a command's options. Devices are cpu, opencl, opencl:1, ...; where
none is given, TINYML_DEVICE says which, else it is cpu. Exit status: 0 done, 1 an error or a
failed check, 2 wrong options, 130 interrupted.
"""
_TRAIN = """\
Train a small convolutional network on 1,797 handwritten digits of 8 x 8 points, which come with
the package. The folder --out then holds weights.safetensors, history.json and digits.png (curves,
confusion matrix, worst mistakes). Ctrl-C keeps the weights of the last whole epoch.
"""
_TEST = """\
Load the weights that `tinyml train digits` wrote and read the digits that it held out.
"""
_DOCTOR = """\
Print machine, versions, devices (each tried by a computation), caches, and one remedy for each
problem. The exit status is 0 where the CPU works.
"""
_CONFORMANCE = """\
Judge every operation on a device by the independent reference: results, errors and gradients.
"""
_KERNELS = """\
Print how each operation runs on each device, for its samples: as a hand-written kernel, a view of
the same memory, a loop nest, a nest that scatters its results, a body of other operations one by
one, or on the host, which then decides what is launched.
"""
_EXPLAIN = """\
Print an operation's record: formula, shape rule, gradients, loop nest, and the source that is
compiled for each device. Without --shape it is explained on its first sample. A function composed
of operations is shown as its source and its trace, on the example of its docstring. With --judge
the conformance suites run on the operation; the exit status is then 1 where a case fails.
"""
_BENCH = "Measure tinyml beside torch and jax in one run, interleaved; medians, as ratios."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    Errors that tinyml or the system raises are printed without a traceback unless `--traceback` is
    given. Invalid options end in SystemExit with status 2, as argparse does it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(next((word for word in words if not word.startswith("-")), None))
    args = parser.parse_args(words)
    if not hasattr(args, "run"):
        parser.print_help()
        return 2
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader has gone; Python must not try again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_OFF
    except (TinyMLError, OSError) as error:
        if args.traceback:
            traceback.print_exc()
        else:
            print(f"tinyml: {_plain(error)}", file=sys.stderr)
        return 1
    return status


def _plain(error: Exception) -> str:
    """Return an error as shell users need it: without lines of Python, since none is theirs."""
    if isinstance(error, TinyMLError):
        error.line = None
    return str(error)


def _parser(command: str | None) -> argparse.ArgumentParser:
    """Return the parser of a command, without the other commands' options and imports."""
    parser = argparse.ArgumentParser(
        prog="tinyml", description=_DESCRIPTION, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tinyml {__version__}")
    parser.set_defaults(traceback=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_train(commands, command == "train")
    _add_test(commands, command == "test")
    doctor = _command(commands, "doctor", "what works here, and a remedy per problem", _DOCTOR)
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=_doctor)
    conformance = _command(commands, "conformance", "judge the operations", _CONFORMANCE)
    conformance.set_defaults(run=_conformance)
    _add_kernels(commands)
    _add_explain(commands)
    bench = _command(commands, "bench", "measure the speed", _BENCH)
    bench.set_defaults(run=_bench)
    if command == "conformance":
        from tinyml.conformance.suite import run

        run.add_arguments(conformance)
    if command == "bench":
        from tinyml.cli.bench import add_arguments

        add_arguments(bench)
    return parser


def _command(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help: str,
             description: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=description)
    parser.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS,
                        help="show where in Python an error came from")
    return parser


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser], chosen: bool) -> None:
    train = _command(commands, "train", "train a network", "Train a network.")
    if not chosen:
        return
    from tinyml.data.digits import HoldOut
    from tinyml.train import digits

    networks = train.add_subparsers(title="networks", metavar="NETWORK", required=True)
    parser = _command(networks, "digits", "a small convolutional network reads handwriting",
                      _TRAIN)
    parser.add_argument("--device", help="cpu, opencl, opencl:1, ... (default: cpu)")
    parser.add_argument("--epochs", type=int, default=digits.EPOCHS, metavar="N",
                        help="passes over the training images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N",
                        help="the same seed gives the same bits (default: %(default)s)")
    parser.add_argument("--out", default=digits.OUT, metavar="DIR",
                        help="folder for the results (default: %(default)s)")
    parser.add_argument("--hold-out", choices=get_args(HoldOut), default="fifth",
                        help="test on every fifth image, or on the last 359, which is harder "
                             "(default: %(default)s)")
    parser.set_defaults(run=_train)


def _add_test(commands: argparse._SubParsersAction[argparse.ArgumentParser], chosen: bool) -> None:
    test = _command(commands, "test", "test a trained network", "Test a trained network.")
    if not chosen:
        return
    networks = test.add_subparsers(title="networks", metavar="NETWORK", required=True)
    parser = _command(networks, "digits", "read the digits held out", _TEST)
    parser.add_argument("--weights", required=True, metavar="FILE",
                        help="weights.safetensors of a training")
    parser.add_argument("--device", help="cpu, opencl, opencl:1, ... (default: cpu)")
    parser.set_defaults(run=_test)


def _add_kernels(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(commands, "kernels", "how each operation runs on each device", _KERNELS)
    parser.add_argument("ops", nargs="*", metavar="OP", help="operations (default: all)")
    parser.add_argument("--device", help="only this one (default: cpu and opencl)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_kernels)


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = _command(commands, "explain", "what an operation is, to the last line", _EXPLAIN)
    parser.add_argument("op", metavar="OP", help="an operation or a function, by its name")
    parser.add_argument("--shape", nargs="+", type=_shape, metavar="N,N",
                        help="sizes of each tensor operand, '' for none: --shape 8,100 100")
    parser.add_argument("--dtype", help="float32, int64, ... (default: float32)")
    parser.add_argument("--set", nargs="+", type=_setting, default=[], metavar="NAME=VALUE",
                        help="attributes: --set 'axis=(0,)' keepdims=True")
    parser.add_argument("--device", help="only this one (default: cpu and opencl)")
    parser.add_argument("--judge", action="store_true",
                        help="also run the conformance suites on it: up to a minute")
    parser.set_defaults(run=_explain)


def _shape(text: str) -> tuple[int, ...]:
    """Return the sizes in '2,3'.

    >>> _shape("2,3"), _shape("")
    ((2, 3), ())
    """
    sizes = [part for part in text.strip("()[] ").split(",") if part.strip()]
    if not all(part.strip().isdigit() for part in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is no shape like 2,3")
    return tuple(map(int, sizes))


def _setting(text: str) -> tuple[str, Any]:
    """Return a name and a value from 'axis=(0,)'; a value that is no Python literal is a string."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not like axis=0")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _train(args: argparse.Namespace) -> int:
    from tinyml.train import digits

    result = digits.train(args.device, args.epochs, args.seed, args.out, hold_out=args.hold_out)
    print(f"{result}; see {result.weights.parent}")
    return 0


def _test(args: argparse.Namespace) -> int:
    from tinyml.train import digits

    print(digits.test(args.weights, args.device))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    import tinyml.cli.doctor as doctor

    return doctor.main(args.json)


def _conformance(args: argparse.Namespace) -> int:
    from tinyml.conformance.suite import run

    return run.main(args)


def _kernels(args: argparse.Namespace) -> int:
    from tinyml.cli.explain import kernels

    found = kernels(args.ops, [args.device] if args.device else ROOMS)
    print(found.json() if args.json else found)
    return 0


def _explain(args: argparse.Namespace) -> int:
    from tinyml.cli.composed import composed, explain_composed
    from tinyml.cli.explain import explain, has_record, subject

    if not has_record(args.op) and composed(args.op) is not None:
        print(explain_composed(args.op, args.shape, args.dtype, dict(args.set)))
        return 0
    devices = [args.device] if args.device else list(ROOMS)
    chosen = subject(args.op, args.shape, args.dtype, dict(args.set))
    print(explain(chosen, devices))
    if not args.judge or chosen.sample is None:
        return 0
    print("\nconformance")
    return max(_judge(chosen.op, device) for device in devices)


def _judge(op: Any, device: str) -> int:
    """Run the suites on one op and print the reports; return 1 where something failed, else 0."""
    from tinyml.conformance.suite.backends import open_backend
    from tinyml.conformance.suite.run import SUITES, Report, run_op

    try:
        find_device(device)
    except DeviceError as error:
        print(f"  {error.message}")
        return 0
    failed = False
    for suite in SUITES:
        backend = open_backend(f"tinyml:{device}")
        report = Report(suite, backend.name, run_op(suite, op, backend))
        if not report.verdicts:
            continue
        failed = failed or not report.ok
        print(textwrap.indent(report.text(), "  "))
        print(f"    tinyml conformance --suite {suite} --device {device} --only {op.name}")
    return int(failed)


def _bench(args: argparse.Namespace) -> int:
    from tinyml.cli.bench import main as measure

    return measure(args)
