"""syscalls PASSES SMALL LARGE COMMAND...: system calls and context switches per 1000 items of a command that takes the number of items
as its last argument, and runs so many PASSES over them: what LARGE needs beyond SMALL, so that starting does not count.

System calls are counted by perf: its tracepoint slows nothing down, but it must be there and may only be root's; where it cannot, they
are not printed. (strace would count two hundred times as many, for whatever is slow wakes up more often.) Context switches are those of
getrusage, of all children."""
import re
import resource
import subprocess
import sys
import tempfile


def counted(command):
    """How many system calls the command and its descendants made; None: perf cannot say."""
    with tempfile.NamedTemporaryFile("r") as log:
        perf = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-o", log.name, "--"]
        try:
            subprocess.run(perf + command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            return None
        found = re.search(r"^(\d+),,raw_syscalls", log.read(), re.M)
        return int(found.group(1)) if found else None


def switched(command):
    def children():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_nvcsw + used.ru_nivcsw

    before = children()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return children() - before


def main():
    passes, small, large = map(int, sys.argv[1:4])
    command = sys.argv[4:]
    per_1000 = 1000 / (passes * (large - small))
    print(f"switches {(switched(command + [str(large)]) - switched(command + [str(small)])) * per_1000:.6g}")
    more, less = counted(command + [str(large)]), counted(command + [str(small)])
    if more is not None and less is not None:
        print(f"system-calls {(more - less) * per_1000:.6g}")


if __name__ == "__main__":
    main()
