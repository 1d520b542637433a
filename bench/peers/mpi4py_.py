"""mpi4py_ map CHUNKSIZE [ITEMS] | round-trip [CALLS] | idle [SECONDS]: what mpi4py.futures needs, with tasks that do nothing. A launcher
starts it: rank 0 hands out, all others are workers."""
import os
import statistics
import sys
import time

from mpi4py import MPI
from mpi4py.futures import MPICommExecutor

now = time.perf_counter


def nothing(x):
    return x


def used(_):
    return os.getpid(), time.process_time()


def report(name, value, unit):
    print(f"{name} {value:.6g} {unit}", flush=True)


def map_(executor, chunksize, n=0):
    n = int(n) or (5000 if int(chunksize) == 1 else 200000)
    took = []
    for _ in range(3):
        begin = now()
        if list(executor.map(nothing, range(n), chunksize=int(chunksize))) != list(range(n)):
            sys.exit("results are not what was sent")
        took.append(now() - begin)
    report("item", statistics.median(took) / n * 1e9, "ns")


def round_trip(executor, calls=2000):
    took = []
    for i in range(int(calls)):
        begin = now()
        executor.submit(nothing, i).result()
        took.append(now() - begin)
    took.sort()
    report("p50", took[len(took) // 2] * 1e6, "us")
    report("p99", took[len(took) * 99 // 100] * 1e6, "us")


def idle(executor, seconds=5):
    """Of one worker, from a second after it has worked on."""
    time.sleep(1)
    begin, (worker, before) = now(), executor.submit(used, 0).result()
    time.sleep(int(seconds))
    again, after = executor.submit(used, 0).result()
    if worker != again:
        sys.exit("start it as two ranks")
    report("worker", 100 * (after - before) / (now() - begin), "%")


WHAT = {"map": map_, "round-trip": round_trip, "idle": idle}


def main():
    with MPICommExecutor(MPI.COMM_WORLD, root=0) as executor:
        if executor is not None:
            list(executor.map(nothing, range(1000)))
            WHAT[sys.argv[1]](executor, *sys.argv[2:])


if __name__ == "__main__":
    main()
