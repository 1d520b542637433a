/* A few bytes for a worker that is awake and has nothing to run: they go to it through its shared memory, not its pipe, which would take
 * two system calls. mp__shared (protocol.h) says how both agree on that.
 *
 * What a word can be: 0, nobody looks; a position in the stream of tasks with MP__LETTER_WANTED, the worker has all up to there and looks
 * for what follows; the same with a size, that many bytes are in the letter, and the worker takes them. */
#ifndef MP__PROCESS_LETTER_H
#define MP__PROCESS_LETTER_H
#include "pool/process/outbox.h"
#include "pool/process/protocol.h"

enum { MP__LETTER_WANTED = 0xffff };

static inline uint64_t mp__letter_word(uint64_t position, size_t what)
{
    return position << 16 | what;
}

/* --- the parent's ---------------------------------------------------------------------------------------------------------- */

/* Puts all that waits there, if it is wanted, fits, and follows what has gone. Under the pool's lock. */
static inline bool mp__letter_put(mp__shared *shared, mp__outbox *outbox)
{
    uint64_t wanted = mp__letter_word(outbox->written, MP__LETTER_WANTED);
    if (atomic_load_explicit(&shared->letter_word, memory_order_acquire) != wanted)
        return false;
    size_t size = mp__outbox_copy(outbox, shared->letter, sizeof shared->letter);
    if (!size || !atomic_compare_exchange_strong(&shared->letter_word, &wanted, mp__letter_word(outbox->written, size)))
        return false;
    mp__outbox_gone(outbox);
    return true;
}

/* --- the worker's ---------------------------------------------------------------------------------------------------------- */

/* It looks from now on. False: a wild task has written there. */
static inline bool mp__letter_want(mp__shared *shared, uint64_t received)
{
    return atomic_exchange(&shared->letter_word, mp__letter_word(received, MP__LETTER_WANTED)) == 0;
}

static inline bool mp__letter_is_there(const mp__shared *shared, uint64_t received)
{
    return atomic_load_explicit(&shared->letter_word, memory_order_acquire) != mp__letter_word(received, MP__LETTER_WANTED);
}

/* It looks no more. What is in the letter, which stays until it looks again: 0, nothing; more than fits: a wild task has written there. */
static inline size_t mp__letter_take(mp__shared *shared, uint64_t received)
{
    uint64_t found = atomic_exchange(&shared->letter_word, 0);
    if (found == mp__letter_word(received, MP__LETTER_WANTED))
        return 0;
    uint64_t size = found - mp__letter_word(received, 0);
    return size && size <= sizeof shared->letter ? (size_t)size : SIZE_MAX;
}

#endif
