/* One item of a hundred is bad: the others must not notice. */
#include "examples/probes/probes.h"
#include <millpond.h>
#include <signal.h>
#include <unistd.h>

enum { ITEMS = 100, BAD = 10 };

static mp_status killed(const int *item, int *out, mp_call *call)
{
    (void)call;
    if (*item == BAD)
        raise(SIGKILL); /* as the kernel does when memory runs out */
    *out = *item;
    return MP_OK;
}
MP_TASK(killed, int, int);

static mp_status hung(const int *item, int *out, mp_call *call)
{
    (void)call;
    while (*item == BAD)
        pause();
    *out = *item;
    return MP_OK;
}
MP_TASK(hung, int, int);

static void judge(outcome *o, const mp_status *statuses, mp_status wanted, double since)
{
    int ok = 0, as_wanted = 0;
    for (int i = 0; i < ITEMS; i++) {
        ok += statuses[i] == MP_OK;
        as_wanted += i == BAD && statuses[i] == wanted;
    }
    say(o, ok == ITEMS - 1 && as_wanted == 1, "%d ok, %d %s, %.1f s", ok, as_wanted, mp_status_name(wanted),
        seconds() - since);
}

outcome crash_among_submits(void)
{
    outcome o = {0};
    mp_status statuses[ITEMS];
    double began = seconds();
    MP_WITH_EXECUTOR (executor, .max_workers = 2) {
        mp_future *futures[ITEMS];
        for (int i = 0; i < ITEMS; i++)
            futures[i] = mp_submit(executor, killed, &i);
        for (int i = 0; i < ITEMS; i++) {
            int out;
            statuses[i] = mp_future_result(futures[i], &out, MP_FOREVER);
            mp_future_free(&futures[i]);
        }
        judge(&o, statuses, MP_ECRASHED, began);
    }
    return o;
}

outcome crash_inside_a_map(void)
{
    outcome o = {0};
    int items[ITEMS], out[ITEMS];
    mp_status statuses[ITEMS];
    for (int i = 0; i < ITEMS; i++)
        items[i] = i;
    double began = seconds();
    MP_WITH_POOL (pool, .processes = 2) {
        mp_pool_map(pool, killed, items, ITEMS, out, .chunksize = 20, .statuses = statuses);
        judge(&o, statuses, MP_ECRASHED, began);
    }
    return o;
}

outcome hung_item(void)
{
    outcome o = {0};
    int items[ITEMS], out[ITEMS];
    mp_status statuses[ITEMS];
    for (int i = 0; i < ITEMS; i++)
        items[i] = i;
    double began = seconds();
    MP_WITH_POOL (pool, .processes = 2) {
        mp_pool_map(pool, hung, items, ITEMS, out, .chunksize = 20, .timeout = 1.0, .statuses = statuses);
        judge(&o, statuses, MP_ETIMEDOUT, began);
    }
    return o;
}
