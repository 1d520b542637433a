/* The store of records: makes one of each item that fails for good, keeps the newest, finds them by their number.
 *
 * Owns a ring of references and one buffer in which inputs are encoded; both guarded by `lock`, a leaf: it is taken with a pool's
 * lock held and nothing is taken or waited for under it. Any thread. A record is one block that never changes, but for its
 * backtrace, which is made when first asked for; it is counted, the ring's reference is one, and whoever asks gets another. So a
 * record that newer ones push out lives on for those who have it.
 *
 * Happy path: the input is encoded into the buffer, a block is made that has room for it and all other texts, the oldest records go
 * until there is room. Where there is no memory for a block the error just has no record. Records that a forked child inherits are
 * its own copies; that no thread of the parent is in the middle of the store when it forks is seen to by forks.c. */
#include "pool/record.h"
#include "pool/forks.h"
#include "pool/program.h"
#include "pool/registry.h"
#include "serial/codec.h"
#include "serial/memory.h"
#include "serial/wire.h"
#include <pthread.h>
#include <string.h>

static pthread_mutex_t *const lock = &mp__forks.kept[MP__RECORDS_LOCK];
/* guarded by `lock` */
static mp__record *ring[MP__RECORDS_MAX]; /* by number, modulo its size */
static uint64_t newest, oldest = 1; /* numbers of records that are there: oldest to newest; none if that is before oldest */
static size_t bytes_kept;
static uint8_t scratch[MP_RECORD_INPUT_MAX];
static struct { /* the hash of one task's types, so that a storm of failures does not compute it again and again */
    const mp_task *task;
    uint64_t hash;
} last_hash;

/* --- blocks -------------------------------------------------------------------------------------------------------------- */

mp__record *mp__record_new(size_t memory)
{
    mp__record *made = mp__memory.calloc(1, sizeof *made + memory);
    if (made) {
        made->bytes = sizeof *made + memory;
        atomic_init(&made->references, 1);
    }
    return made;
}

const char *mp__record_put(char **at, const void *bytes, size_t size)
{
    char *place = *at;
    if (size > 0)
        memcpy(place, bytes, size);
    place[size] = 0;
    *at += size + 1;
    return place;
}

static void unref(mp__record *record)
{
    if (atomic_fetch_sub_explicit(&record->references, 1, memory_order_acq_rel) > 1)
        return;
    free(atomic_load_explicit(&record->backtrace, memory_order_relaxed));
    free(record);
}

void mp_record_free(const mp_record **record)
{
    if (!record || !*record)
        return;
    unref((mp__record *)(uintptr_t)*record);
    *record = NULL;
}

/* --- making one ---------------------------------------------------------------------------------------------------------- */

/* What of an input is kept: its bytes in `scratch`, or why not. */
typedef struct input {
    mp_status status;
    size_t kept;
    uint64_t size;
} input;

/* How many bytes it has: what is large is not copied to find out, if it lies in large pieces. */
static uint64_t measure_locked(const mp_type *type, const void *value)
{
    mp__buffer control = {.data = scratch, .capacity = sizeof scratch, .fixed = true};
    mp__blobs blobs = {0};
    mp__fault fault = {0};
    uint64_t size = 0;
    if (mp__encode(&control, type, value, &blobs, &fault) == MP_OK) {
        size = control.size;
        for (size_t i = 0; i < blobs.count; i++)
            size += blobs.items[i].size;
    }
    mp__blobs_fini(&blobs);
    return size;
}

static input encode_locked(const mp_type *type, const void *value)
{
    static const mp_none none;
    mp__buffer out = {.data = scratch, .capacity = sizeof scratch, .fixed = true};
    mp__fault fault = {0};
    if (!value && type->kind != MP__NONE)
        return (input){.status = MP_EINVAL};
    mp_status status = mp__encode(&out, type, value ? value : &none, NULL, &fault);
    if (status == MP_OK)
        return (input){.kept = out.size, .size = out.size};
    if (status != MP_ENOMEM && status != MP_ELIMIT)
        return (input){.status = status};
    return (input){.status = MP_ELIMIT, .size = measure_locked(type, value)};
}

static uint64_t hash_locked(const mp_task *task)
{
    if (last_hash.task != task) {
        last_hash.hash = mp__task_hash(task);
        last_hash.task = task;
    }
    return last_hash.hash;
}

/* The end of what was written, if it is too much. */
static void keep_end(const char **text, size_t *size, bool *cut)
{
    if (*size <= MP__RECORD_OUTPUT_MAX)
        return;
    *text += *size - MP__RECORD_OUTPUT_MAX;
    *size = MP__RECORD_OUTPUT_MAX;
    *cut = true;
}

static mp__evidence bounded(const mp__evidence *evidence)
{
    mp__evidence made = evidence ? *evidence : (mp__evidence){0};
    keep_end(&made.out, &made.out_size, &made.out_cut);
    keep_end(&made.err, &made.err_size, &made.err_cut);
    if (made.frames_size > MP__RECORD_FRAMES_MAX)
        made.frames_size = MP__RECORD_FRAMES_MAX;
    return made;
}

static void fill_evidence(mp__record *made, const mp__evidence *evidence, char **at)
{
    mp_record *record = &made->record;
    record->ran = (double)evidence->ran_ns * 1e-9;
    record->cpu = (double)evidence->cpu_ns * 1e-9;
    record->rss = evidence->rss_bytes;
    record->by_oom = evidence->by_oom;
    record->has_address = evidence->has_address;
    record->address = evidence->address;
    record->output_cut = evidence->out_cut;
    record->errors_cut = evidence->err_cut;
    record->output = mp__record_put(at, evidence->out, record->output_size = evidence->out_size);
    record->errors = mp__record_put(at, evidence->err, record->errors_size = evidence->err_size);
    made->frames = mp__record_put(at, evidence->frames, made->frames_size = evidence->frames_size);
}

static mp__record *make_locked(const mp_error *error, const mp_task *task, const void *value, const mp__evidence *evidence)
{
    const mp__program *program = mp__program_this();
    mp__evidence known = bounded(evidence);
    input in = encode_locked(task->input, value);
    mp__record *made =
        mp__record_new(in.kept + known.out_size + known.err_size + known.frames_size + strlen(error->host) + 5);
    if (!made)
        return NULL;
    mp_record *record = &made->record;
    char *at = made->memory;
    record->error = *error;
    record->program = program->path;
    record->build_id = program->build_id;
    record->at_open = mp__program_at_open();
    clock_gettime(CLOCK_REALTIME, &record->when);
    record->input_status = in.status;
    record->input_size = in.size;
    record->type_hash = hash_locked(task);
    const char *bytes = mp__record_put(&at, scratch, in.kept);
    record->input = in.status ? NULL : bytes;
    fill_evidence(made, &known, &at);
    const char *elsewhere = mp__record_put(&at, error->host, strlen(error->host));
    record->host = error->host[0] ? elsewhere : program->host;
    return made;
}

/* --- the store ----------------------------------------------------------------------------------------------------------- */

static bool is_full_locked(size_t more)
{
    return newest + 1 - oldest >= MP__RECORDS_MAX || bytes_kept + more > MP__RECORDS_BYTES;
}

/* Takes the oldest ones out until there is room; they are freed later, without the lock. */
static mp__record *make_room_locked(size_t more)
{
    mp__record *gone = NULL;
    while (oldest <= newest && is_full_locked(more)) {
        mp__record **place = &ring[oldest++ % MP__RECORDS_MAX], *old = *place;
        *place = NULL;
        bytes_kept -= old->bytes;
        old->next = gone;
        gone = old;
    }
    return gone;
}

void mp__record_keep(mp_error *error, const mp_task *task, const void *value, const mp__evidence *evidence)
{
    error->record = 0;
    pthread_mutex_lock(lock);
    mp__record *made = make_locked(error, task, value, evidence);
    mp__record *gone = made ? make_room_locked(made->bytes) : NULL;
    if (made) {
        made->record.error.record = error->record = ++newest;
        ring[newest % MP__RECORDS_MAX] = made;
        bytes_kept += made->bytes;
    }
    pthread_mutex_unlock(lock);
    while (gone) {
        mp__record *next = gone->next;
        unref(gone);
        gone = next;
    }
}

const mp_record *mp_error_record(const mp_error *error)
{
    mp__record *found = NULL;
    if (!error || error->record == 0)
        return NULL;
    pthread_mutex_lock(lock);
    if (error->record >= oldest && error->record <= newest) {
        found = ring[error->record % MP__RECORDS_MAX];
        atomic_fetch_add_explicit(&found->references, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(lock);
    return found ? &found->record : NULL;
}
