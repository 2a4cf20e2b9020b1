#!/usr/bin/env python3
"""Runs the contract tests against a real server and a real small model.

Usage: run.py BINARY [--report FILE] [NAMES...]. NAMES select tests whose name contains one of them.
       run.py --report FILE --from LOG...
--report writes the table of requirements, of this run or of what earlier runs have printed. The model
is the file or folder in $HD_TEST_MODEL; without it everything is skipped (exit 77). Most tests share one
server; it must be alive and healthy after each. $HD_TEST_PYTHON names an interpreter that has the SDKs which t_clients.py uses.
"""
import importlib
import os
import pathlib
import re
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import kit  # noqa: E402
import requirements  # noqa: E402


def run_one(name, fn, own, server):
    start = time.monotonic()
    try:
        fn(None if own else server)
        result = "ok"
    except kit.Skip as why:
        result = f"skipped: {why}"
    except BaseException as e:
        if isinstance(e, KeyboardInterrupt):
            raise
        traceback.print_exc()
        result = "FAILED"
    print(f"{result:8} {name} ({time.monotonic() - start:.1f} s)", flush=True)
    return result


def main():
    args = sys.argv[1:]
    report = None
    if "--report" in args[:-1]:
        i = args.index("--report")
        report = args[i + 1]
        del args[i:i + 2]
    if report and args[:1] == ["--from"]:
        lines = "".join(pathlib.Path(x).read_text(errors="replace") for x in args[1:])
        found = re.findall(r"^(ok|FAILED|skipped: .*?) +(\w+\.SM_\w+) \([\d.]+ s\)$", lines, re.M)
        pathlib.Path(report).write_text(requirements.table({name: result for result, name in found}))
        return 0
    if not args:
        print(__doc__)
        return 2
    better = os.environ.get("HD_TEST_PYTHON")
    if better and "HD_TEST_REEXEC" not in os.environ:
        os.environ["HD_TEST_REEXEC"] = "1"
        os.execv(better, [better, *sys.argv])
    kit.Server.binary = os.path.abspath(args[0])
    if not kit.MODEL:
        print("skipped: HD_TEST_MODEL names no model\n0 passed, 0 failed, 0 skipped")
        return 77
    for path in sorted(pathlib.Path(__file__).resolve().parent.glob("t_*.py")):
        importlib.import_module(path.stem)
    wanted = [t for t in kit.TESTS if len(args) == 1 or any(w in t[0] for w in args[1:])]
    server = None
    results = {}
    passed = failed = skipped = 0
    for name, fn, own in wanted:
        if not own and server is None:
            server = kit.Server("--max-context", "4096", "--deterministic")
        result = run_one(name, fn, own, server)
        if not own and server.process.poll() is not None:
            print(f"FAILED   the shared server died during {name}:\n{server.log()[-3000:]}")
            result, server = "FAILED", None
        results[name] = result
        passed += result == "ok"
        failed += result == "FAILED"
        skipped += result.startswith("skipped")
    if server:
        server.signal()
        if server.wait_exit() != 0:
            print(f"FAILED   the shared server ended with {server.process.returncode}:\n"
                  f"{server.log()[-3000:]}")
            failed += 1
        server.kill()
    if report:
        pathlib.Path(report).write_text(requirements.table(results))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
