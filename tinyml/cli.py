"""The command line: each command is a few options and one call."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from typing import get_args

from tinyml import __version__
from tinyml.errors import TinyMLError

INTERRUPTED = 130  # the shell's status for a process ended by Ctrl-C: 128 + SIGINT

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
_BENCH = "Measure tinyml beside its peers in one run, interleaved; medians, as ratios."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status.

    Errors that tinyml or the system raises are printed without a traceback unless `--traceback`
    asks for it. Wrong options end in SystemExit with status 2, as argparse does it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(next((word for word in words if not word.startswith("-")), None))
    args = parser.parse_args(words)
    if not hasattr(args, "run"):
        parser.print_help()
        return 2
    try:
        status: int = args.run(args)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (TinyMLError, OSError) as error:
        if args.traceback:
            traceback.print_exc()
        else:
            print(f"tinyml: {_plain(error)}", file=sys.stderr)
        return 1
    return status


def _plain(error: Exception) -> str:
    """What a person at a shell needs: no line of Python is theirs."""
    if isinstance(error, TinyMLError):
        error.line = None
    return str(error)


def _parser(command: str | None) -> argparse.ArgumentParser:
    """The parser of a command: the options of the others, and their rooms, are not needed."""
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
    doctor.set_defaults(run=_doctor)
    conformance = _command(commands, "conformance", "judge the operations", _CONFORMANCE)
    conformance.set_defaults(run=_conformance)
    bench = _command(commands, "bench", "measure the speed", _BENCH)
    bench.set_defaults(run=_bench)
    if command == "conformance":
        from tinyml.conformance.suite import run

        run.add_arguments(conformance)
    if command == "bench":
        from tinyml.bench import add_arguments

        add_arguments(bench)
    return parser


def _command(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help: str,
             description: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=description)
    parser.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS,
                        help="show where in Python an error came from")
    return parser


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser], asked: bool) -> None:
    train = _command(commands, "train", "train a network", "Train a network.")
    if not asked:
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


def _add_test(commands: argparse._SubParsersAction[argparse.ArgumentParser], asked: bool) -> None:
    test = _command(commands, "test", "test a trained network", "Test a trained network.")
    if not asked:
        return
    networks = test.add_subparsers(title="networks", metavar="NETWORK", required=True)
    parser = _command(networks, "digits", "read the digits held out", _TEST)
    parser.add_argument("--weights", required=True, metavar="FILE",
                        help="weights.safetensors of a training")
    parser.add_argument("--device", help="cpu, opencl, opencl:1, ... (default: cpu)")
    parser.set_defaults(run=_test)


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
    from tinyml import doctor

    return doctor.main()


def _conformance(args: argparse.Namespace) -> int:
    from tinyml.conformance.suite import run

    return run.main(args)


def _bench(args: argparse.Namespace) -> int:
    from tinyml.bench import main as measure

    return measure(args)
