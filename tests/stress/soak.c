/* A soak: a mixed load with a few failures a second for as long as it is told, and samples of what must stay flat: resident memory
 * of the program, the zygote and the workers, descriptors, threads, children, and how long an apply takes.
 *
 *     stress_soak SECONDS [FILE.csv]        ./dev soak [SECONDS]
 *
 * At the end the second half is held against the first: exit code 1 if a median there is larger by more than MARGIN (and, for
 * memory, more than a MiB; for latency, more than noise). The first tenth is not looked at, nor what comes before WARM failures: the
 * store of records fills until then. Code 2: it could
 * not be begun, or a result was wrong. */
#include "tests/lib/proc.h"
#include "tests/lib/until.h"
#include <errno.h>
#include <millpond.h>
#include <pthread.h>
#include <stdint.h>

enum { WORKERS = 3, BATCH = 500, LATENCIES = 4096, COLUMNS = 9, SAMPLE_S = 3, WARM = 4500 };

static const char *const names[COLUMNS] = {"program_kib", "zygote_kib", "worker_kib", "descriptors", "threads",
                                           "children",    "p50_us",     "p99_us",     "items_per_s"};
/* By how much the median of the second half may be larger: a part of it, and that much besides. */
static const struct {
    double part, besides;
} margins[COLUMNS] = {{0.02, 1024}, {0.02, 1024}, {0.05, 1024}, {0, 1},    {0, 1},
                      {0, 1},       {0.5, 200},   {1.0, 2000},  {0, 1e300}};

static mp_status soak_task(const uint64_t *in, uint64_t *out, mp_call *call)
{
    *out = *in * 3 + 1;
    switch (*in % 20011) {
    case 17: raise(SIGSEGV); break;
    case 1017: return mp_fail(call, MP_EUSER, "as it was told");
    case 2017:
        for (;;)
            pause();
    default: break;
    }
    return MP_OK;
}
MP_TASK(soak_task, uint64_t, uint64_t);

typedef struct soak {
    mp_pool *pool;
    _Atomic bool over;
    _Atomic uint64_t items, failed, wrong;
    size_t warm;          /* samples before it had seen enough failures */
    pthread_mutex_t lock; /* for the next two */
    double latencies[LATENCIES];
    size_t count;
} soak;

static void see(soak *s, uint64_t in, mp_status status, uint64_t out)
{
    s->items++;
    s->failed += status != MP_OK;
    s->wrong += status == MP_OK && out != in * 3 + 1;
}

static void *map_on(void *argument)
{
    soak *s = argument;
    static uint64_t in[BATCH], out[BATCH];
    static mp_status statuses[BATCH];
    for (uint64_t next = 0; !s->over; nap_us(1000)) {
        for (int i = 0; i < BATCH; i++)
            in[i] = next++;
        (void)mp_pool_map(s->pool, soak_task, in, BATCH, out, .statuses = statuses, .timeout = 0.1);
        for (int i = 0; i < BATCH; i++)
            see(s, in[i], statuses[i], out[i]);
    }
    return NULL;
}

static bool count_up(uint64_t *item, void *user)
{
    *item = (*(uint64_t *)user)++;
    return true;
}

static void *stream_on(void *argument)
{
    soak *s = argument;
    uint64_t next = 5000, out;
    mp_iter *stream = mp_pool_imap_unordered_from(s->pool, soak_task, count_up, &next, .timeout = 0.1, .buffersize = 200);
    for (size_t index = 0; !s->over;) {
        mp_status status = mp_iter_next(stream, &out, 10, .index = &index);
        if (status == MP_ETIMEDOUT)
            s->wrong++;
        else
            see(s, 5000 + index, status, out);
        if (index % 100 == 0)
            nap_us(1000);
    }
    mp_iter_free(&stream);
    return NULL;
}

static void *submit_on(void *argument)
{
    soak *s = argument;
    mp_executor *executor;
    mp_future *futures[50];
    uint64_t next = 9000;
    if (mp_executor_over(&executor, s->pool) != MP_OK)
        return NULL;
    for (; !s->over; nap_us(2000)) {
        uint64_t first = next;
        for (int i = 0; i < 50; i++, next++)
            futures[i] = mp_submit(executor, soak_task, &next, .timeout = 0.1, .retries = (int)(next % 2));
        for (int i = 0; i < 50; i++) {
            uint64_t out = 0;
            mp_status status = mp_future_result(futures[i], &out, 30);
            see(s, first + (uint64_t)i, status, out);
            mp_future_free(&futures[i]);
        }
    }
    mp_executor_free(&executor);
    return NULL;
}

static void *apply_on(void *argument)
{
    soak *s = argument;
    for (uint64_t in = 3, out = 0; !s->over; nap_us(1000)) {
        double begin = seconds_now();
        mp_status status = mp_pool_apply(s->pool, soak_task, &in, &out);
        double took = seconds_now() - begin;
        see(s, in, status, out);
        pthread_mutex_lock(&s->lock);
        s->latencies[s->count++ % LATENCIES] = took * 1e6;
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double part_of(double *values, size_t count, double part)
{
    qsort(values, count, sizeof *values, compare);
    return count ? values[(size_t)((double)(count - 1) * part)] : 0;
}

static int count_threads(void)
{
    char path[] = "/proc/self/task";
    DIR *dir = opendir(path);
    int count = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return count;
}

static void take_sample(soak *s, pid_t zygote, double *row, double seconds)
{
    static double copy[LATENCIES];
    static uint64_t before;
    pid_t workers[64];
    int living = proc_living_children(zygote, workers, 64);
    double kib = 0;
    for (int i = 0; i < living; i++) {
        double one = (double)proc_resident_kib(workers[i]);
        kib = one > kib ? one : kib;
    }
    pthread_mutex_lock(&s->lock);
    size_t count = s->count < LATENCIES ? s->count : LATENCIES;
    memcpy(copy, s->latencies, count * sizeof *copy);
    s->count = 0;
    pthread_mutex_unlock(&s->lock);
    uint64_t items = s->items;
    row[0] = (double)proc_resident_kib(getpid());
    row[1] = (double)proc_resident_kib(zygote);
    row[2] = kib;
    row[3] = proc_descriptors(getpid());
    row[4] = count_threads();
    row[5] = 1 + living;
    row[6] = part_of(copy, count, 0.5);
    row[7] = part_of(copy, count, 0.99);
    row[8] = (double)(items - before) / seconds;
    before = items;
}

/* Column by column: the medians of both halves. True: all are flat. */
static bool judge(double (*rows)[COLUMNS], size_t count, size_t warm)
{
    size_t first = warm > count / 10 ? warm : count / 10, half = (count - first) / 2;
    double *values = calloc(count + 1, sizeof *values);
    bool flat = half >= 5;
    if (!flat)
        printf("too short to judge: %zu samples\n", count);
    for (int c = 0; flat && values && c < COLUMNS; c++) {
        double medians[2];
        for (size_t h = 0; h < 2; h++) {
            for (size_t i = 0; i < half; i++)
                values[i] = rows[first + h * half + i][c];
            medians[h] = part_of(values, half, 0.5);
        }
        bool grows = medians[1] > medians[0] * (1 + margins[c].part) + margins[c].besides;
        printf("%-12s %12.1f then %12.1f%s\n", names[c], medians[0], medians[1], grows ? "   GROWS" : "");
        flat = flat && !grows;
    }
    free(values);
    return flat;
}

static size_t watch(soak *s, pid_t zygote, double seconds, FILE *csv, double (*rows)[COLUMNS], size_t room)
{
    double begin = seconds_now(), last = begin;
    size_t count = 0;
    fprintf(csv, "seconds");
    for (int c = 0; c < COLUMNS; c++)
        fprintf(csv, ",%s", names[c]);
    fprintf(csv, ",failed\n");
    while (seconds_now() < begin + seconds && count < room && !s->wrong) {
        nap_us(SAMPLE_S * 1000000L);
        double now = seconds_now();
        take_sample(s, zygote, rows[count], now - last);
        last = now;
        fprintf(csv, "%.1f", now - begin);
        for (int c = 0; c < COLUMNS; c++)
            fprintf(csv, ",%.1f", rows[count][c]);
        fprintf(csv, ",%lu\n", (unsigned long)s->failed);
        fflush(csv);
        count++;
        if (s->failed < WARM)
            s->warm = count;
    }
    return count;
}

int main(int argc, char **argv)
{
    static soak s = {.lock = PTHREAD_MUTEX_INITIALIZER};
    static void *(*const users[4])(void *) = {map_on, stream_on, submit_on, apply_on};
    pthread_t threads[4];
    mp_error error;
    mp_main(argc, argv);
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 3600;
    size_t room = (size_t)(seconds / SAMPLE_S) + 2;
    FILE *csv = argc > 2 ? fopen(argv[2], "we") : stdout;
    static double(*rows)[COLUMNS];
    rows = calloc(room, sizeof *rows);
    if (!csv || !rows)
        return 2;
    if (mp_pool_open(&s.pool, .processes = WORKERS, .grace = 0.05, .error = &error) != MP_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 2;
    }
    pid_t zygote = proc_only_child();
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, users[i], &s))
            return 2;
    size_t count = watch(&s, zygote, seconds, csv, rows, room);
    s.over = true;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    mp_pool_stats stats = {0};
    (void)mp_pool_get_stats(s.pool, &stats);
    mp_pool_free(&s.pool);
    printf("%lu items, %lu failed, %lu wrong; %lu workers started, %lu lost\n", (unsigned long)s.items,
           (unsigned long)s.failed, (unsigned long)s.wrong, (unsigned long)stats.started, (unsigned long)stats.lost);
    bool flat = judge(rows, count, s.warm);
    printf("%s\n", s.wrong ? "WRONG" : flat ? "flat" : "NOT FLAT");
    if (csv != stdout)
        fclose(csv);
    free(rows);
    return s.wrong ? 2 : !flat;
}
