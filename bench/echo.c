/* echo [bytes|doubles [KIB]]: so much data to a worker and back: a synchronous apply, and the result is freed. */
#include "bench/pool.h"

static mp_status echo_bytes(const mp_bytes *in, mp_bytes *out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(echo_bytes, mp_bytes, mp_bytes);

static mp_status echo_doubles(const MP_SPAN(double) * in, MP_SPAN(double) * out, mp_call *call)
{
    (void)call;
    *out = *in;
    return MP_OK;
}
MP_TASK(echo_doubles, MP_SPAN(double), MP_SPAN(double));

static double of_bytes(mp_pool *pool, void *data, size_t size)
{
    mp_bytes in = {data, size}, out;
    mp_error error;
    double begin = now();
    must(mp_pool_apply(pool, echo_bytes, &in, &out, .error = &error), &error);
    double took = now() - begin;
    if (out.size != size || memcmp(out.data, data, 64) != 0)
        give_up("what came back is not what was sent");
    begin = now();
    mp_free(mp_bytes, &out, 1);
    return took + now() - begin;
}

static double of_doubles(mp_pool *pool, void *data, size_t size)
{
    MP_SPAN(double) in = {data, size / sizeof(double)}, out;
    mp_error error;
    double begin = now();
    must(mp_pool_apply(pool, echo_doubles, &in, &out, .error = &error), &error);
    double took = now() - begin;
    if (out.count != in.count || memcmp(out.items, data, 64) != 0)
        give_up("what came back is not what was sent");
    begin = now();
    mp_free(MP_SPAN(double), &out, 1);
    return took + now() - begin;
}

int main(int argc, char **argv)
{
    bool doubles = strcmp(word(argc, argv, 1, "bytes"), "doubles") == 0;
    size_t size = (size_t)number(argc, argv, 2, 1024) * 1024;
    size_t rounds = ((size_t)256 << 20) / size + 3;
    void *data = memory(size, 1);
    double *took = memory(rounds, sizeof *took);
    mp_error error = {0};
    MP_WITH_POOL (pool, .processes = WORKERS, .error = &error) {
        for (size_t round = 0; round < rounds; round++)
            took[round] = doubles ? of_doubles(pool, data, size) : of_bytes(pool, data, size);
    }
    must(error.status, &error);
    report("echo", median(took, rounds) * 1e6, "us");
    free(data);
    free(took);
}
