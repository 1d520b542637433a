/* ThreadPoolExecutor(thread_name_prefix="download"): what its threads are called, in tasks, in debuggers and in top -H. */
#include <millpond.h>
#include <stdio.h>

static mp_status name_of_worker(const mp_none *in, mp_str *name, mp_call *call)
{
    (void)in;
    *name = mp_str_of(mp_call_worker_name(call)); /* what a task gives is copied when it returns */
    return MP_OK;
}
MP_TASK(name_of_worker, mp_none, mp_str);

static void print_name(mp_executor *executor)
{
    mp_str name;
    mp_future *future = mp_submit(executor, name_of_worker, NULL);
    if (mp_future_result(future, &name, MP_FOREVER) == MP_OK)
        printf("%s\n", name.data); /* belongs to the future */
    mp_future_free(&future);
}

int main(void)
{
    MP_WITH_EXECUTOR (plain, .kind = MP_THREADS, .max_workers = 1)
        print_name(plain);
    MP_WITH_EXECUTOR (named, .kind = MP_THREADS, .max_workers = 1, .thread_name_prefix = "download")
        print_name(named);
}
