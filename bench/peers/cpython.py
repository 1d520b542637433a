"""cpython WHAT [ARGUMENT]...: what Python's own pools need, with two workers and tasks that do nothing. Fewer items than ours, for
they take longer; figures are per item. One line each, `name value unit`, as the C programs print them."""
import array
import multiprocessing
import os
import re
import resource
import statistics
import sys
import time
from concurrent import futures
from multiprocessing.pool import ThreadPool

WORKERS = 2
now = time.perf_counter


def nothing(x):
    return x


def report(name, value, unit):
    print(f"{name} {value:.6g} {unit}")


def per_item(took, n):
    report("item", statistics.median(took) / n * 1e9, "ns")


def timed(call):
    begin = now()
    call()
    return now() - begin


def usage():
    """Seconds of CPU, and context switches, of this process and of its children that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in both), sum(u.ru_nvcsw + u.ru_nivcsw for u in both)


def ended(pool):
    """Only who has been waited for is in the usage."""
    pool.close()
    pool.join()


def map_(chunksize=0, n=0):
    chunksize = int(chunksize) or None
    n = int(n) or (20000 if chunksize == 1 else 1000000)
    items = range(n)
    with multiprocessing.Pool(WORKERS) as pool:
        pool.map(nothing, range(1000))
        passes = 1 if chunksize else 3
        per_item([timed(lambda: pool.map(nothing, items, chunksize)) for _ in range(passes)], n)
        ended(pool)
    return n * passes


def imap(n=20000):
    with multiprocessing.Pool(WORKERS) as pool:
        pool.map(nothing, range(1000))
        per_item([timed(lambda: sum(pool.imap_unordered(nothing, range(n))))], n)
        ended(pool)
    return n


def async_(n=10000):
    def send_all():
        sent = [pool.apply_async(nothing, (i,)) for i in range(n)]
        return [one.get() for one in sent]

    with multiprocessing.Pool(WORKERS) as pool:
        pool.map(nothing, range(1000))
        per_item([timed(send_all)], n)
        ended(pool)
    return n


def executor_of(kind):
    return (futures.ThreadPoolExecutor if kind == "threads" else futures.ProcessPoolExecutor)(WORKERS)


def submit(kind="processes", n=5000):
    def submit_all():
        sent = [executor.submit(nothing, i) for i in range(n)]
        return [one.result() for one in sent]

    with executor_of(kind) as executor:
        list(executor.map(nothing, range(100)))
        per_item([timed(submit_all)], n)
    return n


def round_trip(kind="processes", calls=1000):
    with executor_of(kind) as executor:
        list(executor.map(nothing, range(100)))
        per_item([timed(lambda: executor.submit(nothing, 1).result()) for _ in range(calls)], 1)
    return calls


def apply(calls=2000):
    with multiprocessing.Pool(WORKERS) as pool:
        pool.map(nothing, range(1000))
        took = sorted(timed(lambda: pool.apply(nothing, (1,))) for _ in range(calls))
        ended(pool)
    report("p50", took[calls // 2] * 1e6, "us")
    report("p99", took[calls * 99 // 100] * 1e6, "us")
    report("mean", statistics.mean(took) * 1e6, "us")
    return calls


def as_completed(n=5000):
    with executor_of("processes") as executor:
        list(executor.map(nothing, range(100)))
        sent = [executor.submit(nothing, i) for i in range(n)]
        per_item([timed(lambda: sum(1 for _ in futures.as_completed(sent)))], n)
    return n


def echo(kind, kib):
    size = int(kib) * 1024
    data = bytes(size) if kind == "bytes" else array.array("d", bytes(size))
    with multiprocessing.Pool(WORKERS) as pool:
        took = [timed(lambda: pool.apply(nothing, (data,))) for _ in range(3 if size > 1 << 24 else 50)]
    report("echo", statistics.median(took) * 1e6, "us")


def open_(method, mib=0):
    resident = bytearray(int(mib) << 20)
    for page in range(0, len(resident), 4096):
        resident[page] = 1
    context, took = multiprocessing.get_context(method), []
    for _ in range(5):
        begin = now()
        pool = context.Pool(WORKERS)
        pool.apply(nothing, (1,))
        took.append(now() - begin)
        pool.terminate()
        pool.join()
    report("first-result", statistics.median(took) * 1e6, "us")


def kib_of(pid, file, name):
    with open(f"/proc/{pid}/{file}", encoding="ascii") as lines:
        return int(re.search(rf"^{name}:\s+(\d+) kB", lines.read(), re.M).group(1))


def pending(n=50000):
    with multiprocessing.Pool(WORKERS) as pool:
        for _ in range(WORKERS):
            pool.apply_async(time.sleep, (600,))
        before = kib_of(os.getpid(), "status", "VmRSS")
        sent = [pool.apply_async(nothing, (i,)) for i in range(n)]
        report("pending", (kib_of(os.getpid(), "status", "VmRSS") - before) * 1024 / len(sent), "B")


def worker():
    with multiprocessing.Pool(WORKERS) as pool:
        pool.map(nothing, range(10000), 1)
        pids = [process.pid for process in multiprocessing.active_children()]
        report("worker", max(kib_of(pid, "smaps_rollup", "Private_Dirty") for pid in pids) * 1024, "B")


WHAT = {"map": map_, "imap": imap, "async": async_, "submit": submit, "round-trip": round_trip, "apply": apply,
        "as_completed": as_completed, "echo": echo, "open": open_, "pending": pending, "worker": worker}


def main():
    before = usage()
    items = WHAT[sys.argv[1]](*sys.argv[2:])
    if items:
        cpu, switches = (after - b for after, b in zip(usage(), before))
        report("cpu", cpu / items * 1e9, "ns")
        report("switches-per-1000", switches / items * 1000, "")


if __name__ == "__main__":
    main()
