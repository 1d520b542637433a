/* ThreadPoolExecutor(initializer=connect, initargs=(port,)): what every worker does before its first task. If it fails, the executor
 * does not open, and the reason is there. */
#include <millpond.h>
#include <stdio.h>

static mp_status connect_to(const int *port, mp_none *out, mp_call *call)
{
    (void)out;
    if (*port < 1 || *port > 65535)
        return mp_fail(call, MP_ERANGE, "%d is no port", *port);
    printf("worker %d connects to port %d\n", mp_call_worker(call), *port);
    return MP_OK;
}
MP_TASK(connect_to, int, mp_none);

static mp_status query(const int *number, int *answer, mp_call *call)
{
    (void)call;
    *answer = *number + 1;
    return MP_OK;
}
MP_TASK(query, int, int);

int main(int argc, char **argv)
{
    (void)argv;
    mp_kind kind = argc > 1 ? MP_PROCESSES : MP_THREADS; /* ./initializer processes */
    int port = 8080, answer = 0;
    mp_error error;

    MP_WITH_EXECUTOR (executor, .kind = kind, .max_workers = 1, .initializer = MP_HOOK(connect_to, &port)) {
        for (int i = 0; i < 3; i++) {
            mp_future *future = mp_submit(executor, query, &answer);
            mp_future_result(future, &answer, MP_FOREVER);
            mp_future_free(&future);
        }
    }
    printf("three queries, and the answer is %d\n", answer);

    port = -1;
    MP_WITH_EXECUTOR (executor, .kind = kind, .initializer = MP_HOOK(connect_to, &port), .error = &error)
        puts("this is skipped");
    printf("port -1: %s\n", mp_status_name(error.status)); /* mp_perror(&error) says the rest */
}
