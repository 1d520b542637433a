/* A program with an event loop of its own: async calls and streams have descriptors that poll(2) can wait for, beside sockets,
 * terminals and whatever else there is. epoll, libuv and GLib take them as well. */
#include <millpond.h>
#include <poll.h>
#include <stdio.h>

static mp_status cube(const int64_t *x, int64_t *y, mp_call *call)
{
    (void)call;
    *y = *x * *x * *x;
    return MP_OK;
}
MP_TASK(cube, int64_t, int64_t);

/* Readable while mp_iter_next would not wait: takes what is there. False: the stream has ended. */
static bool drain(mp_iter *stream, int64_t *sum)
{
    int64_t y;
    mp_status status;
    while ((status = mp_iter_next(stream, &y, 0)) != MP_ETIMEDOUT && status != MP_END)
        *sum += status == MP_OK ? y : 0;
    return status != MP_END;
}

int main(void)
{
    static int64_t items[1000];
    int64_t one = 0, sum = 0;
    mp_error error = {0};
    for (int i = 0; i < 1000; i++)
        items[i] = i;

    MP_WITH_POOL (pool, .processes = 2, .error = &error) {
        mp_async *call = mp_pool_apply_async(pool, cube, (&(int64_t){12}));
        mp_iter *stream = mp_pool_imap_unordered(pool, cube, items, 1000);
        struct pollfd waits[] = {{.fd = mp_async_fd(call), .events = POLLIN}, {.fd = mp_iter_fd(stream), .events = POLLIN}};
        while ((waits[0].fd >= 0 || waits[1].fd >= 0) && poll(waits, 2, -1) > 0) { /* poll leaves out negative ones */
            if (waits[0].revents) {
                mp_async_get(call, &one, 0); /* ready: does not wait */
                waits[0].fd = -1;
            }
            if (waits[1].revents && !drain(stream, &sum))
                waits[1].fd = -1;
        }
        mp_iter_free(&stream);
        mp_async_free(&call);
    }
    if (error.status != MP_OK)
        return mp_perror(&error), 1;
    printf("the call: %lld\nthe stream: %lld\n", (long long)one, (long long)sum);
}
