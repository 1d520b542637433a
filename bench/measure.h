/* What the programs of bench/ share: clocks, medians, arguments, and how a figure is printed: one line, `name value unit`. The
 * first line is what the program is there for; others stand beside it. bench/run reads them. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { WORKERS = 2 }; /* where nothing else is said */

static inline double now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static inline void report(const char *name, double value, const char *unit)
{
    (void)printf("%s %.6g %s\n", name, value, unit);
}

__attribute__((noreturn)) static inline void give_up(const char *why)
{
    perror(why);
    exit(1);
}

/* Memory that has been touched: no page fault of it is measured. */
static inline void *memory(size_t count, size_t size)
{
    void *block = malloc(count * size);
    if (!block)
        give_up("malloc");
    memset(block, 1, count * size);
    return block;
}

/* The k-th argument, or what is taken if there is none. */
static inline const char *word(int argc, char **argv, int k, const char *otherwise)
{
    return argc > k ? argv[k] : otherwise;
}

static inline long number(int argc, char **argv, int k, long otherwise)
{
    return argc > k ? strtol(argv[k], NULL, 10) : otherwise;
}

static inline int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values: the p-th percentile is then values[count * p / 100]. */
static inline double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

/* What this process has used, and its children, and theirs, that have ended and been waited for: so it is asked when the pool
 * has been freed. */
typedef struct {
    double cpu;      /* seconds */
    double switches; /* context switches */
} usage;

static inline void usage_add(usage *sum, const struct rusage *r)
{
    sum->cpu +=
        (double)(r->ru_utime.tv_sec + r->ru_stime.tv_sec) + (double)(r->ru_utime.tv_usec + r->ru_stime.tv_usec) * 1e-6;
    sum->switches += (double)(r->ru_nvcsw + r->ru_nivcsw);
}

static inline usage used(void)
{
    usage sum = {0, 0};
    struct rusage r;
    (void)getrusage(RUSAGE_SELF, &r);
    usage_add(&sum, &r);
    (void)getrusage(RUSAGE_CHILDREN, &r);
    usage_add(&sum, &r);
    return sum;
}

/* What each of so many items has cost, with all that was done for them since the program began. */
static inline void report_usage(double items)
{
    usage all = used();
    report("cpu", all.cpu / items * 1e9, "ns");
    report("switches-per-1000", all.switches / items * 1000, "");
}
#endif
