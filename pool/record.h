/* Records of items that failed: how they are made and where they are kept. The public side: millpond/record.h. */
#ifndef MP__POOL_RECORD_H
#define MP__POOL_RECORD_H
#include "pool/evidence.h"
#include <millpond/record.h>
#include <millpond/task.h>
#include <stdatomic.h>

enum {
    MP__RECORDS_MAX = 4096,              /* that the process keeps by itself */
    MP__RECORDS_BYTES = 8 * 1024 * 1024, /* all together */
    MP__RECORD_OUTPUT_MAX = 64 * 1024,   /* of what was written to one stream: its end */
    MP__RECORD_FRAMES_MAX = 16 * 1024
};

/* A record as it lies in memory: one block, `record` at its beginning. */
typedef struct mp__record {
    /* fixed at create */
    mp_record record;
    const char *frames; /* raw, as in mp__evidence */
    size_t frames_size;
    size_t bytes; /* of the block */
    /* guarded by the store's lock */
    struct mp__record *next; /* of those that leave the store and are to be freed */
    /* atomic */
    _Atomic uint32_t references;
    _Atomic(char *) backtrace; /* owned; NULL: nobody has asked for it */
    char memory[];             /* what all pointers above point to */
} mp__record;

/* An item has failed for good: by its task, a crash, a time-out or a loss. Makes a record of `error`, which is complete but for
 * its `record`, of `evidence` (NULL: none) and of the input `value` of `task` (NULL: not at hand), and writes its number into
 * error->record; 0 when there is no memory, which is no failure of anything. Called with a pool's lock held: takes a leaf lock of
 * its own, waits for nothing. A few microseconds, and as long as it takes to encode 64 KiB. Everything is borrowed. */
void mp__record_keep(mp_error *error, const mp_task *task, const void *value, const mp__evidence *evidence);

/* A block for a record with so many bytes of `memory`, one reference, all zero. NULL: no memory. */
mp__record *mp__record_new(size_t memory);

/* Copies `size` bytes and a zero to `*at`, a place in a record's memory, moves that on, and returns where they are. */
const char *mp__record_put(char **at, const void *bytes, size_t size);

#endif
