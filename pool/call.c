/* What a task may do with its mp_call: fail with a text, get memory for its result, ask which item it has.
 *
 * Used in the worker, by the one thread that runs the task; no lock. Memory comes from pieces that grow; the newest is kept
 * between items, so that a task that always needs little allocates once. */
#include "pool/call.h"
#include "pool/chaos.h"
#include "serial/memory.h"
#include "serial/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PIECE_MIN = 4096, PIECE_KEEP = 1 << 20 };

mp_status mp_fail(mp_call *call, mp_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    mp__text_format(call->message, sizeof call->message, format, arguments);
    va_end(arguments);
    call->status = status == MP_OK ? MP_EFAILED : status;
    return call->status;
}

void *mp_call_alloc(mp_call *call, size_t size)
{
    const size_t align = _Alignof(max_align_t);
    if (size > SIZE_MAX / 4)
        return NULL;
    size_t need = size ? (size + align - 1) / align * align : align;
    mp__piece *piece = call->pieces;
    if (!piece || piece->size - piece->used < need) {
        size_t capacity = need > PIECE_MIN ? need : PIECE_MIN;
        if (piece && capacity < 2 * piece->size && 2 * piece->size <= PIECE_KEEP)
            capacity = 2 * piece->size;
        mp__piece *fresh = mp__memory.malloc(sizeof *fresh + capacity);
        if (!fresh)
            return NULL;
        *fresh = (mp__piece){.next = piece, .size = capacity};
        call->pieces = piece = fresh;
    }
    void *memory = (char *)piece->bytes + piece->used;
    piece->used += need;
    return memory;
}

size_t mp_call_item(const mp_call *call)
{
    return call->item;
}

uint32_t mp_call_attempt(const mp_call *call)
{
    return call->attempt;
}

int mp_call_worker(const mp_call *call)
{
    return call->worker;
}

const char *mp_call_worker_name(const mp_call *call)
{
    return call->name;
}

/* That the task looks is written down once: who waits for it will rather ask it to return than end it. */
bool mp_call_cancelled(const mp_call *call)
{
    if (call->heeds && atomic_load_explicit(call->heeds, memory_order_relaxed) != call->ordinal)
        atomic_store_explicit(call->heeds, call->ordinal, memory_order_relaxed);
    return call->cancelled && atomic_load_explicit(call->cancelled, memory_order_relaxed) >= call->ordinal;
}

void mp_call_set_state(mp_call *call, void *state)
{
    call->state = state;
}

void *mp_call_state(const mp_call *call)
{
    return call->state;
}

static void free_pieces(mp__piece *piece)
{
    while (piece) {
        mp__piece *next = piece->next;
        free(piece);
        piece = next;
    }
}

void mp__call_reuse(mp_call *call)
{
    mp__piece *kept = call->pieces;
    free_pieces(kept->next);
    kept->next = NULL;
    kept->used = 0;
    if (kept->size > PIECE_KEEP) {
        free(kept);
        call->pieces = NULL;
    }
}

void mp__call_fini(mp_call *call)
{
    free_pieces(call->pieces);
    call->pieces = NULL;
}

mp_status mp__call_status(mp_call *call, mp_status returned)
{
    if (returned == MP_OK)
        return MP_OK;
    if (returned == MP_END || returned == MP_ETIMEDOUT) { /* whoever waits would take them for an answer to itself */
        if (!call->message[0])
            snprintf(call->message, sizeof call->message, "the task returned %s", mp_status_name(returned));
        return MP_EFAILED;
    }
    if (!call->message[0])
        snprintf(call->message, sizeof call->message, "the task returned %s (%d) without saying why: see mp_fail",
                 mp_status_name(returned), (int)returned);
    return returned;
}

static __attribute__((noinline)) mp_status run_under_chaos(mp_call *call, const mp_task *task, const void *input,
                                                           void *output)
{
    mp_status status = mp__chaos_strike(call, task);
    return status ? status : task->run(input, output, call);
}

__attribute__((noinline)) mp_status mp__call_run(mp_call *call, const mp_task *task, const void *input, void *output)
{
    mp_status status = call->chaos ? run_under_chaos(call, task, input, output) : task->run(input, output, call);
    return status ? mp__call_status(call, status) : MP_OK;
}
