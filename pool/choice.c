/* One program, every kind: what the command line says, else the pool's own options, else the environment, else processes.
 *
 * The table below is the only place where a kind has a name, and its backend. Reads the environment and the program's arguments
 * when a pool is opened, on the thread that opens it, without a lock. Keeps what the arguments said, for they are gone then: from that
 * on it stands for the environment. Arguments are read before any of them is moved, so that a failure leaves them as they were. */
#include "pool/choice.h"
#include "pool/cpu.h"
#include "pool/failure.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    const mp__backend *backend;
} kinds[] = {
    [MP_PROCESSES] = {"processes", &mp__process_backend},
    [MP_THREADS] = {"threads", &mp__thread_backend},
    [MP_SERIAL] = {"serial", &mp__inline_backend},
    [MP_CLUSTER] = {"cluster", &mp__cluster_backend},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

typedef struct choice {
    mp_kind kind; /* 0: nothing is said */
    int workers;  /* 0: nothing is said of them */
} choice;

const mp__backend *mp__choice_backend(mp_kind kind)
{
    return (unsigned)kind < KINDS ? kinds[kind].backend : NULL;
}

/* --- what is said ---------------------------------------------------------------------------------------------------------- */

static mp_kind named(const char *name, size_t length)
{
    for (int i = 0; i < KINDS; i++)
        if (kinds[i].name && strlen(kinds[i].name) == length && memcmp(kinds[i].name, name, length) == 0)
            return (mp_kind)i;
    return MP_DEFAULT_KIND;
}

/* 0: it is no number of workers. */
static int number(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    long value = digits && digits <= 6 && !text[digits] ? strtol(text, NULL, 10) : 0;
    return value <= MP__PROCESSES_MAX ? (int)value : 0;
}

/* KIND or KIND:N; `whose` says it. A kind that can have one worker takes no number. */
static mp_status read_choice(const char *whose, const char *text, choice *said, mp_error *error)
{
    const char *colon = strchr(text, ':');
    said->kind = named(text, colon ? (size_t)(colon - text) : strlen(text));
    said->workers = colon ? number(colon + 1) : 0;
    const mp__backend *backend = mp__choice_backend(said->kind);
    if (backend && (!colon || (said->workers && !backend->most)))
        return MP_OK;
    return mp__failure(
        error, MP_EINVAL,
        "%s is '%.60s': it can be serial, threads, threads:N, processes, processes:N, cluster or cluster:N, with N from 1 to %d",
        whose, text, MP__PROCESSES_MAX);
}

static _Atomic choice line_said; /* the command line, to a pool that was opened before */

static mp_status read_environment(choice *said, mp_error *error)
{
    *said = atomic_load(&line_said);
    if (said->kind)
        return MP_OK;
    const char *text = getenv("MILLPOND");
    return text && *text ? read_choice("the environment variable MILLPOND", text, said, error) : MP_OK;
}

/* --- arguments --------------------------------------------------------------------------------------------------------------- */

/* How many of these arguments are the choice: 0, 1 (--millpond=TEXT), or 2. `*text` is NULL where it should follow and does not. */
static int taken_by(char **arguments, int left, const char **text)
{
    static const char option[] = "--millpond";
    const size_t length = sizeof option - 1;
    if (strncmp(*arguments, option, length) != 0)
        return 0;
    const char *behind = *arguments + length;
    *text = *behind ? behind + 1 : left > 1 ? arguments[1] : NULL;
    return *behind == '=' ? 1 : *behind ? 0 : 2;
}

/* The last one counts. Behind "--" nothing is an option. */
static mp_status read_arguments(int argc, char **argv, choice *said, mp_error *error)
{
    const char *text;
    for (int i = 1, taken; i < argc && strcmp(argv[i], "--") != 0; i += taken ? taken : 1) {
        taken = taken_by(argv + i, argc - i, &text);
        if (taken && !text)
            return mp__failure(error, MP_EINVAL,
                               "--millpond is the last argument: a kind must follow, as in --millpond=threads:4");
        mp_status status = taken ? read_choice("the argument --millpond", text, said, error) : MP_OK;
        if (status)
            return status;
    }
    return MP_OK;
}

/* What is left keeps its order; argv[argc] is NULL, as it was. */
static void drop_arguments(int *argc, char **argv)
{
    const char *text;
    int from = 1, kept = 1;
    while (from < *argc && strcmp(argv[from], "--") != 0) {
        int taken = taken_by(argv + from, *argc - from, &text);
        if (!taken)
            argv[kept++] = argv[from];
        from += taken ? taken : 1;
    }
    if (kept == from)
        return;
    while (from < *argc)
        argv[kept++] = argv[from++];
    *argc = kept;
    argv[kept] = NULL;
}

/* --- what follows ------------------------------------------------------------------------------------------------------------ */

/* Options that only processes have, of a program that is run on something else for once. */
static void forget_what_it_cannot_have(mp_pool_options *options)
{
    if (!mp__choice_backend(options->kind)->in_program)
        return;
    options->start_method = MP_DEFAULT_START;
    options->limits = (mp_limits){0};
    options->maxrss = 0;
    options->output = MP_OUTPUT_INHERIT;
}

/* A number in the environment is for its own kind. */
static mp_status ask_environment(mp_pool_options *options, mp_error *error)
{
    choice said = {MP_DEFAULT_KIND, 0};
    mp_status status = options->kind && options->processes ? MP_OK : read_environment(&said, error);
    if (status)
        return status;
    if (!options->kind && said.kind) {
        options->kind = said.kind;
        forget_what_it_cannot_have(options);
    }
    if (!options->kind)
        options->kind = MP_PROCESSES;
    if (!options->processes && options->kind == said.kind)
        options->processes = said.workers;
    return MP_OK;
}

mp_status mp__choice_take(mp_pool_options *options, mp_error *error)
{
    choice said = {MP_DEFAULT_KIND, 0};
    if (!options->argc != !options->argv)
        return mp__failure(error, MP_EINVAL, ".argc and .argv go together: pass the address of argc, and argv");
    mp_status status = options->argc ? read_arguments(*options->argc, options->argv, &said, error) : MP_OK;
    if (status || !said.kind)
        return status ? status : ask_environment(options, error);
    atomic_store(&line_said, said);
    drop_arguments(options->argc, options->argv);
    options->argc = NULL;
    options->argv = NULL;
    options->kind = said.kind;
    if (said.workers)
        options->processes = said.workers;
    forget_what_it_cannot_have(options);
    return MP_OK;
}
