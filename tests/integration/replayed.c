/* A program with a main of its own, whose items are run again. Arguments: `make HOW FILE` writes a record of an item; `early` comes to
 * no pool; none: opens a pool with an initializer. HOW is the item's number, and a letter for what its record says it needs: p a pool,
 * m nothing but mp_main. */
#include "pool/failure.h"
#include "pool/program.h"
#include "pool/record.h"
#include <millpond.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCEEDS, FAILS, CRASHES, EXITS, NEEDS_STATE, OPENS_A_POOL, CANNOT_BE_SENT };

static mp_status add_one(const int *in, int *out, mp_call *call)
{
    (void)call;
    *out = *in + 1;
    return MP_OK;
}
MP_TASK(add_one, int, int);

static mp_status open_a_pool(void)
{
    mp_pool *pool;
    mp_error error;
    int items[3] = {1, 2, 3}, results[3] = {0};
    mp_status status = mp_pool_open(&pool, .processes = 2, .start_method = MP_SPAWN, .error = &error);
    if (status)
        return status;
    status = mp_pool_map(pool, add_one, items, 3, results);
    mp_pool_free(&pool);
    return status ? status : results[2] == 4 ? MP_OK : MP_EFAILED;
}

static mp_status behave(const int *how, mp_str *out, mp_call *call)
{
    static const char wrong[] = "\xff";
    *out = mp_str_of("well");
    printf("item %zu, attempt %u, worker %d, state %s\n", mp_call_item(call), mp_call_attempt(call), mp_call_worker(call),
           mp_call_state(call) ? (const char *)mp_call_state(call) : "none");
    fflush(stdout);
    switch (*how) {
    case FAILS: return mp_fail(call, MP_EFAILED, "as it was asked to");
    case CRASHES:
        signal(SIGSEGV, SIG_DFL); /* a sanitizer has its own */
        raise(SIGSEGV);
        break;
    case EXITS: exit(7);
    case NEEDS_STATE: return mp_call_state(call) ? MP_OK : mp_fail(call, MP_EFAILED, "there is no state");
    case OPENS_A_POOL: return open_a_pool();
    case CANNOT_BE_SENT: *out = (mp_str){wrong, 1}; break;
    default: break;
    }
    return MP_OK;
}
MP_TASK(behave, int, mp_str);

static char state[] = "ready";
static mp_status set_up(const int *in, mp_none *out, mp_call *call)
{
    (void)out;
    if (*in != 5)
        return mp_fail(call, MP_EFAILED, "the initializer got %d", *in);
    mp_call_set_state(call, state);
    return MP_OK;
}
MP_TASK(set_up, int, mp_none);

static int make(const char *how, const char *path)
{
    int input = how[0] - '0';
    mp_error error;
    mp__failure(&error, MP_EFAILED, "then");
    error.item = 17;
    error.attempt = 2;
    strcpy(error.task, "behave");
    if (how[1] == 'p')
        mp__program_opens();
    mp__record_keep(&error, &mp__task_behave, &input, NULL);
    const mp_record *record = mp_error_record(&error);
    mp_status status = record ? mp_record_save(record, path, &error) : MP_ENOMEM;
    mp_record_free(&record);
    if (status)
        mp_perror(&error);
    return status ? 1 : 0;
}

int main(int argc, char **argv)
{
    mp_main(argc, argv);
    if (argc == 4 && !strcmp(argv[1], "make"))
        return make(argv[2], argv[3]);
    if (argc > 1 && !strcmp(argv[1], "early"))
        return 5;
    int five = 5;
    mp_pool *pool;
    mp_error error;
    printf("it opens its pool\n");
    fflush(stdout);
    if (mp_pool_open(&pool, .processes = 1, .initializer = MP_HOOK(set_up, &five), .error = &error) != MP_OK)
        return mp_perror(&error), 1;
    mp_pool_free(&pool);
    printf("it goes on\n");
    return 0;
}
