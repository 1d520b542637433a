/* A small program over a serial pool: every face, once. With the argument `valgrind` it executes itself under that. `crash`, `exit`:
 * its task does. */
#include <millpond.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 50 };

static mp_status add_one(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(add_one, int, int);

typedef struct word {
    mp_str text;
} word;
MP_TYPE(word, text);

static mp_status double_word(const word *in, word *out, mp_call *call)
{
    char *text = mp_call_alloc(call, 2 * in->text.size);
    memcpy(text, in->text.data, in->text.size);
    memcpy(text + in->text.size, in->text.data, in->text.size);
    out->text = (mp_str){text, 2 * in->text.size};
    return MP_OK;
}
MP_TASK(double_word, word, word);

static mp_status end_badly(const int *how, mp_none *out, mp_call *call)
{
    (void)out, (void)call;
    if (*how)
        pthread_exit(NULL);
    raise(SIGSEGV);
    return MP_OK;
}
MP_TASK(end_badly, int, mp_none);

static bool next_number(int *item, void *user)
{
    int *at = user;
    *item = (*at)++;
    return *at <= N;
}

static bool all_faces(mp_pool *pool)
{
    int in[N], out[N], at = 0, got, sum = 0;
    word words[2] = {{mp_str_of("mill")}, {mp_str_of("pond")}}, doubled[2];
    for (int i = 0; i < N; i++)
        in[i] = i;
    if (mp_pool_map(pool, add_one, in, N, out) != MP_OK || mp_pool_map(pool, double_word, words, 2, doubled) != MP_OK)
        return false;
    mp_free(word, doubled, 2);
    mp_async *async = mp_pool_map_async(pool, add_one, in, N);
    mp_iter *iter = mp_pool_imap_from(pool, add_one, next_number, &at, .buffersize = 4);
    while (mp_iter_next(iter, &got, MP_FOREVER) == MP_OK)
        sum += got;
    mp_iter_free(&iter);
    bool right = mp_async_get(async, out, MP_FOREVER) == MP_OK && sum == N * (N + 1) / 2 && out[N - 1] == N;
    mp_async_free(&async);
    MP_WITH_EXECUTOR (executor, .kind = MP_SERIAL, .max_tasks_per_child = 3) {
        mp_future *first = mp_submit(executor, add_one, in), *second = mp_future_then(first, executor, add_one);
        right = right && mp_future_result(second, &got, MP_FOREVER) == MP_OK && got == 2;
        mp_future_free(&first);
        mp_future_free(&second);
    }
    return right;
}

int main(int argc, char **argv)
{
    const char *wish = argc > 1 ? argv[1] : "";
    int exits = !strcmp(wish, "exit"), status = 1;
    if (!strcmp(wish, "valgrind")) {
        execlp("valgrind", "valgrind", "-q", "--error-exitcode=9", "--leak-check=full", argv[0], (char *)NULL);
        return 2;
    }
    MP_WITH_POOL (pool, .kind = MP_SERIAL, .maxtasksperchild = 20) {
        if (exits || !strcmp(wish, "crash"))
            (void)mp_pool_apply(pool, end_badly, &exits, NULL);
        else
            status = !all_faces(pool);
    }
    printf("%s\n", status ? "wrong" : "all is well");
    return status;
}
