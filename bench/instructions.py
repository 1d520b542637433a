"""instructions PROGRAM REFERENCE [--write]: how many instructions an item takes, counted by valgrind (callgrind), against the counts
that REFERENCE keeps. Instructions do not depend on what else the machine does, so that a regression shows that no clock would show.

Each is the difference of two runs, of N and of more items, for each item. Exit code 1: one has grown by more than 5 %; 77: there is
no valgrind. The codec's counts are exact. Those of a map are of the program with its threads (parent) and of the zygote and its
workers together, on one CPU, so that who runs when is nearly the same each time. How often the engine takes a turn meanwhile is not, which
makes up to 15 % of a map on threads: so what has grown is counted again, and the least of ten counts is what is needed; so it is in REFERENCE."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ALLOWED = 1.05
TRIES = 10
CODEC = [f"{way} {what}" for way in ("encode", "decode") for what in ("int64", "struct", "doubles")]
MAPS = ["map processes", "map threads"]


def totals(program, command, n):
    """Instructions of the program itself, and of all processes forked from it."""
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_PERTURB_"}  # meson's; it costs a memset
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={folder}/%p", program, *command.split(), str(n)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment,
                              preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))
        if done.returncode != 0:
            sys.exit(f"`{command} {n}` failed under valgrind: {done.stderr[-500:]}")
        counts = {}
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as out:
                counts[int(name.split(".")[0])] = int(re.search(r"^(?:totals|summary): (\d+)", out.read(), re.M).group(1))
    first = min(counts)  # the others were forked from it
    return counts[first], sum(counts.values()) - counts[first]


def per_item(program, command, small, large):
    less, more = totals(program, command, small), totals(program, command, large)
    return [(b - a) / (large - small) for a, b in zip(less, more)]


def measure(program):
    found = {}
    for command in CODEC:
        found[command] = per_item(program, command, 1000, 2000)[0]
    for command in MAPS:
        parent, workers = per_item(program, command, 2000, 102000)
        found[command + " parent"] = parent
        if workers:
            found[command + " workers"] = workers
    return found


def main():
    program, reference = sys.argv[1:3]
    if not shutil.which("valgrind"):
        print("there is no valgrind")
        return 77
    found = measure(program)
    if "--write" in sys.argv:
        for _ in range(TRIES - 1):
            found = {name: min(count, found[name]) for name, count in measure(program).items()}
        with open(reference, "w", encoding="utf-8") as out:
            out.writelines(f"{name:24} {count:8.1f}\n" for name, count in found.items())
        return 0
    with open(reference, encoding="utf-8") as kept:
        known = {line[:24].strip(): float(line[24:]) for line in kept}
    for _ in range(TRIES - 1):
        if all(found[name] <= known[name] * ALLOWED for name in found):
            break
        found = {name: min(count, found[name]) for name, count in measure(program).items()}
    for name, count in found.items():
        grown = "  GROWN" if count > known[name] * ALLOWED else ""
        print(f"{name:24} {count:8.1f}  kept {known[name]:8.1f}  {100 * count / known[name] - 100:+6.1f} %{grown}")
    return 0 if all(found[name] <= known[name] * ALLOWED for name in found) else 1


if __name__ == "__main__":
    sys.exit(main())
