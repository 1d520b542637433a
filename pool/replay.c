/* Running the item of a record again, in this very thread: finds its task, checks that it is the same, decodes the input, calls it.
 *
 * Decides whether the item can be run at all, and where: the environment's wish is granted in mp_main, unless the record says that the
 * task may need what the program or an initializer has made by the time a pool is opened; then there. Owns the memory of one input and
 * one output while it runs. Any thread, no lock; the environment's wish is granted once, other threads that open a pool meanwhile go
 * no further. It is taken out of the environment first, so that neither what the task opens nor what it starts is a replay too.
 *
 * A crash is a crash of this process: debuggers and core files see it. Who started a replay (replay_command.c) hears through a pipe
 * that it began, and how it ended; a program that never came here says nothing. */
#include "pool/replay.h"
#include "pool/call.h"
#include "pool/failure.h"
#include "pool/program.h"
#include "pool/registry.h"
#include "serial/codec.h"
#include "serial/memory.h"
#include <millpond/record.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PLACE_ALIGN = 64 };

/* One run: what is to be freed behind it. */
typedef struct run {
    const mp_task *task;
    void *input, *output;
    mp__buffer scratch;
    mp_call call;
} run;

/* --- can it be run? ------------------------------------------------------------------------------------------------------- */

static mp_status find_task(const mp_record *record, const mp_task **task, mp_error *error)
{
    const char *name = record->error.task;
    *task = mp_task_find(name);
    if (!*task)
        return mp__failure(error, MP_EUNREGISTERED,
                           "this program has no task '%s': run the record's item in '%s', or in one that has the task",
                           name, record->program);
    if (mp__task_hash(*task) != record->type_hash)
        return mp__failure(error, MP_EMISMATCH,
                           "the types of task '%s' have changed since the record was made: its input cannot be read", name);
    if (record->input_status == MP_OK)
        return MP_OK;
    return mp__failure(error, MP_EINVAL, "the record has no input: %s",
                       record->input_status == MP_ELIMIT ? "it was too large to be kept"
                                                         : mp_status_text(record->input_status));
}

static void *new_place(const mp_type *type)
{
    size_t size = (type->size + PLACE_ALIGN - 1) / PLACE_ALIGN * PLACE_ALIGN;
    void *place = mp__memory.aligned_alloc(PLACE_ALIGN, size);
    if (place)
        memset(place, 0, size);
    return place;
}

static mp_status decode(run *r, const mp_record *record, mp_error *error)
{
    mp__fault fault = {0};
    size_t size = (size_t)record->input_size;
    mp__frame frame = {.data = record->input, .size = size, .control = size};
    r->input = new_place(r->task->input);
    r->output = new_place(r->task->output);
    if (!r->input || !r->output)
        return mp__failure(error, MP_ENOMEM, "no memory for the input of task '%s'", r->task->name);
    if (mp__decode_input(r->task->input, &frame, r->input, &r->scratch, &fault) == MP_OK)
        return MP_OK;
    char text[sizeof fault.path + sizeof fault.message + 32];
    mp__fault_text(&fault, text, sizeof text);
    return mp__failure(error, fault.status, "the record's input cannot be decoded: %s", text);
}

/* --- running it ----------------------------------------------------------------------------------------------------------- */

static mp_status run_initializer(run *r, const mp_hook *hook, mp_error *error)
{
    static const mp_none none;
    mp_none nothing = {0};
    if (!hook || !hook->task)
        return MP_OK;
    mp__call_begin(&r->call, 0, 1, 0);
    mp_status status = mp__call_run(&r->call, hook->task, hook->input ? hook->input : &none, &nothing);
    return status ? mp__failure(error, status, "the initializer failed: %s", r->call.message) : MP_OK;
}

/* What a worker would do with the result; on threads nothing, as there where an address is in it. */
static mp_status check_result(run *r)
{
    mp__buffer out = {0};
    mp__fault fault = {0};
    mp_status status = mp__encode(&out, r->task->output, r->output, NULL, &fault);
    mp__buffer_fini(&out);
    if (status == MP_OK || status == MP_ETYPE)
        return MP_OK;
    char text[sizeof fault.path + sizeof fault.message + 32];
    mp__fault_text(&fault, text, sizeof text);
    return mp_fail(&r->call, status, "the result cannot be encoded: %s", text);
}

static mp_status run_item(run *r, const mp_record *record, mp_error *error)
{
    const mp_error *then = &record->error;
    mp__call_begin(&r->call, then->item == MP_NO_ITEM ? 0 : then->item, then->attempt > 0 ? (uint32_t)then->attempt : 1, 1);
    mp_status status = mp__call_run(&r->call, r->task, r->input, r->output);
    if (status == MP_OK)
        status = check_result(r);
    if (status == MP_OK)
        return mp__no_failure(error);
    mp__failure(error, status, "%s", r->call.message);
    if (error) {
        error->item = then->item;
        error->attempt = then->attempt;
        error->pid = getpid();
    }
    return status;
}

static mp_status replay(const mp_record *record, const mp_hook *initializer, bool *began, mp_error *error)
{
    run r = {.call = {.worker = MP_NO_WORKER, .name = "mp-replay"}};
    mp_status status = find_task(record, &r.task, error);
    if (!status)
        status = decode(&r, record, error);
    if (!status)
        status = run_initializer(&r, initializer, error);
    *began = !status;
    if (!status)
        status = run_item(&r, record, error);
    if (status && error)
        strcpy(error->task, record->error.task);
    mp__call_fini(&r.call);
    mp__buffer_fini(&r.scratch);
    free(r.input);
    free(r.output);
    return status;
}

mp_status mp_replay(const char *path, mp_error *error)
{
    const mp_record *record;
    bool began;
    mp_status status = mp_record_load(path, &record, error);
    if (!status)
        status = replay(record, NULL, &began, error);
    mp_record_free(&record);
    return status;
}

/* --- the environment ------------------------------------------------------------------------------------------------------ */

/* To who started this program for a replay. */
static void tell(int pipe, char byte)
{
    struct stat about;
    if (pipe > 2 && fstat(pipe, &about) == 0 && S_ISFIFO(about.st_mode))
        (void)!write(pipe, &byte, 1);
}

_Noreturn static void leave(int pipe, char byte)
{
    tell(pipe, byte);
    (void)fflush(NULL);
    _exit(byte == MP__REPLAY_PASSED ? 0 : 1);
}

_Noreturn static void grant(const mp_record *record, const mp_hook *initializer, int pipe)
{
    mp_error error;
    bool began;
    tell(pipe, MP__REPLAY_BEGUN);
    mp_status status = replay(record, initializer, &began, &error);
    (void)fflush(stdout);
    if (status)
        mp_perror(&error);
    (void)fprintf(stderr, "millpond: the item %s\n", !status ? "succeeds" : began ? "fails" : "could not be run");
    leave(pipe, !status ? MP__REPLAY_PASSED : began ? MP__REPLAY_FAILED : MP__REPLAY_REFUSED);
}

static void consider(const mp_pool_options *options)
{
    static _Atomic bool taken;
    const mp_record *record;
    mp_error error;
    const char *path = secure_getenv(MP__REPLAY_VARIABLE), *pipe = secure_getenv(MP__REPLAY_PIPE_VARIABLE);
    if (!path || !*path)
        return;
    int fd = pipe ? atoi(pipe) : -1; // NOLINT(cert-err34-c): what is no number is no pipe
    mp_status status = mp_record_load(path, &record, &error);
    if (!status && !options && record->at_open) {
        mp_record_free(&record);
        return;
    }
    while (atomic_exchange(&taken, true)) /* another thread's replay ends this process */
        pause();
    if (status) {
        mp_perror(&error);
        leave(fd, MP__REPLAY_REFUSED);
    }
    (void)fprintf(stderr, "millpond: replaying item %zu of '%s', from %s\n", record->error.item, record->error.task, path);
    unsetenv(MP__REPLAY_VARIABLE);
    unsetenv(MP__REPLAY_PIPE_VARIABLE);
    grant(record, options ? &options->initializer : NULL, fd);
}

void mp__replay_at_open(const mp_pool_options *options)
{
    bool executes = options->start_method == MP_SPAWN || options->start_method == MP_FORKSERVER;
    if (!executes || options->initializer.task)
        mp__program_opens();
    consider(options);
}

void mp__replay_in_main(void)
{
    consider(NULL);
}
