"""joblib CHUNKSIZE: joblib's Parallel over two processes (loky) and a task that does nothing; chunk size 0: its own choice."""
import sys
import time

import joblib


def nothing(x):
    return x


def main(chunksize):
    n = 1000 if chunksize else 20000
    with joblib.Parallel(n_jobs=2, batch_size=chunksize or "auto") as parallel:
        parallel(joblib.delayed(nothing)(i) for i in range(100))
        begin = time.perf_counter()
        parallel(joblib.delayed(nothing)(i) for i in range(n))
        print(f"item {(time.perf_counter() - begin) / n * 1e9:.6g} ns")


if __name__ == "__main__":
    main(int(sys.argv[1]))
