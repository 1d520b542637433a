/* glib submit|round-trip [ITEMS]: tasks that do nothing on GLib's GThreadPool of two threads. */
#include "bench/measure.h"
#include <glib.h>
#include <semaphore.h>

enum { ROUNDS = 3 };

static int left;
static sem_t all_done;

static void nothing(gpointer item, gpointer user)
{
    (void)item, (void)user;
    if (g_atomic_int_dec_and_test(&left))
        (void)sem_post(&all_done);
}

static double submit(GThreadPool *pool, int n)
{
    double begin = now();
    g_atomic_int_set(&left, n);
    for (int i = 1; i <= n; i++)
        g_thread_pool_push(pool, GINT_TO_POINTER(i), NULL);
    (void)sem_wait(&all_done);
    return now() - begin;
}

int main(int argc, char **argv)
{
    int alone = strcmp(word(argc, argv, 1, "submit"), "round-trip") == 0;
    int n = (int)number(argc, argv, 2, alone ? 10000 : 200000);
    int count = alone ? n : ROUNDS, each = alone ? 1 : n;
    double *took = memory((size_t)count, sizeof *took);
    (void)sem_init(&all_done, 0, 0);
    GThreadPool *pool = g_thread_pool_new(nothing, NULL, WORKERS, TRUE, NULL);
    for (int k = 0; k < count; k++)
        took[k] = submit(pool, each);
    g_thread_pool_free(pool, FALSE, TRUE);
    report("item", median(took, (size_t)count) / each * 1e9, "ns");
    report_usage((double)count * each);
    free(took);
}
