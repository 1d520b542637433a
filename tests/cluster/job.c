/* job MODE: a program as a user writes it, started on every rank. Says one line, "ok job MODE ...", or why not.
 *
 *   crashes   20 000 items, 20 of which SIGSEGV: these fail, and no other
 *   slow      6000 items of 10 ms with one retry: while something is lost; every result arrives
 *   large     GIB (3) GiB as the argument of one call, what it adds up to, and on which host: all workers are with agents
 *   forever   items that do not end: for who is to be killed
 *   before    nothing yet, before it has a pool: the same
 *   between   nothing more, when it has had one: the same
 *   hosts     who runs items, and where
 *   rate      what an item costs, and a round trip
 *   far       the same where all workers are with agents */
#include <inttypes.h>
#include <millpond.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef OTHER
typedef struct {
    int32_t number;
    double more;
} number;
MP_TYPE(number, number, more);
#else
typedef struct {
    int32_t number;
} number;
MP_TYPE(number, number);
#endif

typedef struct {
    char name[64];
} place;
MP_TYPE(place, name);

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static mp_status twice(const number *in, int64_t *out, mp_call *call)
{
    (void)call;
    *out = 2 * (int64_t)in->number;
    return MP_OK;
}
MP_TASK(twice, number, int64_t);

static mp_status crash_some(const number *in, int64_t *out, mp_call *call)
{
    if (in->number % 1000 == 500)
        (void)raise(SIGSEGV);
    return twice(in, out, call);
}
MP_TASK(crash_some, number, int64_t);

static mp_status slow(const number *in, int64_t *out, mp_call *call)
{
    (void)usleep(10000);
    return twice(in, out, call);
}
MP_TASK(slow, number, int64_t);

static mp_status forever(const number *in, int64_t *out, mp_call *call)
{
    (void)sleep(1000);
    return twice(in, out, call);
}
MP_TASK(forever, number, int64_t);

static mp_status where(const number *in, place *out, mp_call *call)
{
    (void)call;
    (void)in;
    (void)usleep(20000);
    (void)gethostname(out->name, sizeof out->name);
    return MP_OK;
}
MP_TASK(where, number, place);

typedef struct {
    int64_t sum;
    char host[64];
} total;
MP_TYPE(total, sum, host);

static mp_status add_up(const mp_bytes *in, total *out, mp_call *call)
{
    (void)call;
    const unsigned char *bytes = in->data;
    out->sum = 0;
    for (size_t i = 0; i < in->size; i++)
        out->sum += bytes[i];
    (void)gethostname(out->host, sizeof out->host);
    return MP_OK;
}
MP_TASK(add_up, mp_bytes, total);

static number items[20000];
static int64_t results[20000];
static mp_status statuses[20000];

static int failed(const char *what, const mp_error *error)
{
    fprintf(stderr, "not ok: %s: ", what);
    mp_perror(error);
    return 1;
}

static int wrong_results(int count, mp_status expected)
{
    int wrong = 0;
    for (int i = 0; i < count; i++)
        wrong += statuses[i] != MP_OK ? statuses[i] != expected : results[i] != 2 * (int64_t)items[i].number;
    return wrong;
}

static int count_failed(int count)
{
    int found = 0;
    for (int i = 0; i < count; i++)
        found += statuses[i] != MP_OK;
    return found;
}

static int crashes(mp_pool *pool)
{
    double start = seconds();
    mp_pool_stats stats;
    (void)mp_pool_map(pool, crash_some, items, 20000, results, .statuses = statuses);
    int wrong = wrong_results(20000, MP_ECRASHED), crashed = count_failed(20000);
    (void)mp_pool_get_stats(pool, &stats);
    printf("%s job crashes: %d of 20000 failed, %d wrong, %d workers, %.2f s\n", wrong || crashed != 20 ? "not ok" : "ok",
           crashed, wrong, stats.workers, seconds() - start);
    return wrong || crashed != 20;
}

static void say_begun(void)
{
    printf("ok begun\n");
    fflush(stdout);
}

static int slow_map(mp_pool *pool)
{
    mp_error error;
    double start = seconds();
    say_begun();
    mp_status status = mp_pool_map(pool, slow, items, 6000, results, .statuses = statuses, .retries = 1, .error = &error);
    int lost = count_failed(6000), wrong = wrong_results(6000, MP_OK);
    if (status)
        mp_perror(&error);
    printf("%s job slow: %d of 6000 failed, %d wrong, %.2f s\n", lost || wrong ? "not ok" : "ok", lost, wrong,
           seconds() - start);
    return lost || wrong;
}

static int large(mp_pool *pool)
{
    const char *text = getenv("GIB");
    size_t size = (text ? strtoul(text, NULL, 10) : 3) << 30;
    mp_error error;
    char *bytes = malloc(size);
    if (!bytes)
        return perror("not ok: malloc"), 1;
    memset(bytes, 1, size);
    total got = {0};
    double start = seconds();
    if (mp_pool_apply(pool, add_up, (&(mp_bytes){.data = bytes, .size = size}), &got, .error = &error))
        return failed("large", &error);
    bool right = got.sum == (int64_t)size;
    printf("%s job large: %zu GiB to %s, %.2f GB/s\n", right ? "ok" : "not ok", size >> 30, got.host,
           (double)size / (seconds() - start) * 1e-9);
    free(bytes);
    return !right;
}

static int run_forever(mp_pool *pool)
{
    say_begun();
    (void)mp_pool_map(pool, forever, items, 100, results);
    return 1;
}

static int hosts(mp_pool *pool)
{
    static place places[200];
    mp_pool_stats stats;
    mp_error error;
    char names[16][64];
    int known = 0;
    if (mp_pool_map(pool, where, items, 200, places, .chunksize = 1, .error = &error))
        return failed("hosts", &error);
    for (int i = 0; i < 200; i++) {
        int k = 0;
        while (k < known && strcmp(names[k], places[i].name) != 0)
            k++;
        if (k == known && known < 16)
            memcpy(names[known++], places[i].name, sizeof names[0]);
    }
    (void)mp_pool_get_stats(pool, &stats);
    printf("ok job hosts: %d workers on %d hosts:", stats.workers, known);
    for (int k = 0; k < known; k++)
        printf(" %s", names[k]);
    printf("\n");
    return 0;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int rate(mp_pool *pool)
{
    static double times[1000];
    mp_error error;
    double start = seconds();
    if (mp_pool_map(pool, twice, items, 20000, results, .chunksize = 1, .statuses = statuses, .error = &error))
        return failed("rate", &error);
    double took = seconds() - start;
    for (int i = 0; i < 1000; i++) {
        start = seconds();
        if (mp_pool_apply(pool, twice, &items[i], &results[i], .error = &error))
            return failed("rate", &error);
        times[i] = (seconds() - start) * 1e6;
    }
    qsort(times, 1000, sizeof *times, by_size);
    printf("ok job rate: %.0f items a second at chunk size 1, round trip p50 %.1f us, p99 %.1f us\n", 20000 / took,
           times[500], times[990]);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(mp_pool *);
    } modes[] = {{"crashes", crashes}, {"slow", slow_map}, {"large", large}, {"forever", run_forever},
                 {"hosts", hosts},     {"rate", rate},     {"far", rate},    {"between", hosts}};
    const char *mode = argc > 1 ? argv[1] : "";
    bool far = strcmp(mode, "large") == 0 || strcmp(mode, "far") == 0;
    if (far) /* an agent that has ever so many CPUs gets all workers */
        (void)setenv("MILLPOND_CPU_COUNT", "1000", 1);
    mp_main(argc, argv);
    (void)unsetenv("MILLPOND_CPU_COUNT");
    mp_pool *pool;
    mp_error error;
    if (strcmp(mode, "before") == 0)
        return say_begun(), (int)sleep(1000);
    if (mp_pool_open(&pool, .kind = MP_CLUSTER, .processes = far ? 2 : 0, .error = &error) != MP_OK)
        return failed("open", &error);
    for (int i = 0; i < 20000; i++)
        items[i].number = i;
    int code = 2;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(mode, modes[i].name) == 0)
            code = modes[i].run(pool);
    mp_pool_close(pool);
    (void)mp_pool_join(pool);
    mp_pool_free(&pool);
    if (code == 0 && strcmp(mode, "between") == 0)
        return say_begun(), (int)sleep(1000);
    return code;
}
