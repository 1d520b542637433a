/* Calls of one item that are posted: the copies of their inputs, their results, their ends.
 *
 * Decides nothing. Prepared on the caller's thread without a lock; ended under the pool's lock; from then on nothing changes, and
 * anybody may look. The result, with all it points to, is owned here: users are shown copies that own nothing. It fails for want of
 * memory, and for inputs that cannot be copied. */
#include "pool/single.h"
#include "pool/failure.h"
#include "pool/pool.h"
#include "pool/values.h"
#include "serial/block.h"
#include "serial/copy.h"
#include "serial/memory.h"
#include "serial/types.h"
#include <stdlib.h>
#include <string.h>

/* What two numbers take is done in line. */
static inline void zero(void *at, size_t size)
{
    if (size == 2 * sizeof(uint64_t))
        memset(at, 0, 2 * sizeof(uint64_t));
    else
        memset(at, 0, size);
}

static void *allocate(size_t size, size_t align)
{
    size = mp__single_aligned(size, align);
    return align <= _Alignof(max_align_t) ? mp__memory.malloc(size) : mp__memory.aligned_alloc(align, size);
}

void *mp__single_allocate(mp__dispatch *d, const mp_task *task, size_t head, mp__sheet_at *at)
{
    size_t size = head, align = 1;
    if (task) {
        const mp_type *in = task->input, *out = task->output;
        size = mp__single_aligned(mp__single_aligned(head, out->align) + out->size, in->align) + in->size;
        align = in->align > out->align ? in->align : out->align;
    }
    *at = 0; /* without a dispatch, too */
    char *memory = d ? mp__sheet_take(d, size, align, at) : NULL;
    if (!memory)
        memory = allocate(size, align);
    if (memory)
        zero(memory + head, size - head);
    return memory;
}

void mp__single_hold(mp__dispatch *d, mp__sheet_at at)
{
    if (!at) /* else its sheet does */
        mp__dispatch_ref(d);
}

/* Of numbers that is known at once. */
static inline bool owns(const mp_type *type)
{
    return type->kind >= MP__STR && mp__type_owns(type);
}

static inline void copy_plain(void *to, const void *from, size_t size)
{
    if (size == sizeof(uint64_t))
        memcpy(to, from, sizeof(uint64_t));
    else
        memcpy(to, from, size);
}

static void free_input(mp__single *single)
{
    if (single->owes_input)
        mp_free_values(single->task->input, mp__single_input(single), 1);
    single->owes_input = false;
}

static void free_terms(mp__single *single)
{
    if (single->own_terms)
        free((void *)(uintptr_t)single->terms);
    single->own_terms = false;
    single->terms = NULL; /* and so `error` is */
}

static void free_result(mp__single *single)
{
    const mp_type *type = single->has_result ? single->task->output : NULL;
    if (!type || !owns(type))
        return;
    mp__block_hold(type, mp__single_result(single), false);
    mp_free_values(type, mp__single_result(single), 1);
}

void mp__single_free(mp__single *single, mp__dispatch *d, mp__sheet_at at)
{
    free_input(single);
    if (!single->ended)
        free_terms(single);
    else if (single->error)
        free(single->error);
    free_result(single);
    if (at) {
        mp__sheet_put(single, at);
        return;
    }
    free(single);
    if (d)
        mp__dispatch_unref(d);
}

/* --- its beginning ----------------------------------------------------------------------------------------------------------- */

static mp_status take_copy(mp__single *single, const void *input, mp_error *error)
{
    mp__fault fault = {0};
    if (mp__copy(single->task->input, input, mp__single_input(single), NULL, &fault) != MP_OK)
        return mp__values_failure(error, "the input cannot be copied", &fault);
    single->owes_input = true;
    return MP_OK;
}

mp_status mp__single_take(mp__single *single, const void *input, mp_error *error)
{
    const mp_type *type = single->task->input;
    if (mp__is_none(type))
        return MP_OK;
    if (owns(type))
        return take_copy(single, input, error);
    copy_plain(mp__single_input(single), input, type->size);
    return MP_OK;
}

mp_status mp__single_take_terms(mp__single *single, const mp__policy_defaults *defaults, const mp_policy *policy,
                                mp_error *error)
{
    mp__core_job terms = {.n = 1};
    mp_status status = mp__policy_take(defaults, policy, 1, &terms, error);
    mp__core_job *own = status ? NULL : mp__memory.malloc(sizeof *own);
    if (!own)
        return status ? status : mp__failure(error, MP_ENOMEM, "no memory for a call");
    *own = terms;
    single->terms = own;
    single->own_terms = true;
    return MP_OK;
}

/* --- its end ----------------------------------------------------------------------------------------------------------------- */

static void keep_error(mp__single *single, const mp_error *error)
{
    single->status = error->status;
    single->error = mp__memory.malloc(sizeof *error);
    if (!single->error)
        return;
    *single->error = *error;
    if (single->ran) /* who waits would take it for its own time */
        single->error->status = mp__waited_status(error->status);
}

/* `error`: NULL, or of status MP_OK: there is none. */
static inline void keep_end(mp__single *single, const mp_error *error)
{
    free_terms(single);
    single->ended = true;
    if (error && error->status)
        keep_error(single, error);
}

static inline void keep_result(mp__single *single, const void *result)
{
    const mp_type *type = single->task->output;
    if (result)
        copy_plain(mp__single_result(single), result, type->size);
    if (owns(type))
        mp__block_hold(type, mp__single_result(single), true);
}

void mp__single_end(mp__single *single, const void *result, const mp_error *error, bool wanted)
{
    free_input(single);
    single->has_result = !error;
    if (!error)
        keep_result(single, result);
    if (!wanted)
        return;
    single->ran = error;
    keep_end(single, error);
}

void mp__single_refuse(mp__single *single, const mp_error *error)
{
    keep_end(single, error);
}

/* --- what became of it ------------------------------------------------------------------------------------------------------- */

mp_status mp__single_status(const mp__single *single)
{
    return single->ran ? mp__waited_status(single->status) : single->status;
}

const mp_error *mp__single_error(const mp__single *single)
{
    static const mp_error none;
    if (single->error || !single->status)
        return single->error ? single->error : &none;
    return mp__failure_plain(mp__single_status(single), single->ran ? 0 : MP_NO_ITEM, single->task);
}

void mp__single_give(const mp__single *single, void *out)
{
    if (!single->task || !out || mp__is_none(single->task->output))
        return;
    if (!single->status && single->has_result)
        copy_plain(out, mp__single_result(single), single->task->output->size);
    else
        memset(out, 0, single->task->output->size);
}
