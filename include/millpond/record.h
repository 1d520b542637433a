/* Records: all that is known of an item that failed, and how to run it again.
 *
 *     if (mp_pool_map(pool, integrate, items, n, areas, .error = &error) != MP_OK) {
 *         const mp_record *record = mp_error_record(&error);
 *         if (record)
 *             mp_record_save(record, "failed.mp", NULL);    // and then, in a shell: millpond-replay --gdb failed.mp
 *         mp_record_free(&record);
 *         mp_perror(&error);                                // prints the record too
 *     }
 *
 * One is made for each item that fails for good: by its task, a crash, a time-out, or because its result was lost; not for items
 * that were cancelled or terminated. The process keeps the newest 4096, of 8 MiB in all; an mp_error knows the number of its own. What
 * is in a record is kept as long as somebody has it. All calls may be made from any thread. */
#ifndef MILLPOND_RECORD_H
#define MILLPOND_RECORD_H
#include <millpond/error.h>
#include <stdbool.h>
#include <time.h>

#define MP_RECORD_INPUT_MAX 65536 /* a larger input is not kept, in bytes as it travels */

/* Read it; what it points to is its own. */
typedef struct mp_record {
    mp_error error;       /* as the call told it. `record` is 0 in one that was loaded */
    const char *host;     /* where it was; "" when not known, as all texts here */
    const char *program;  /* the file that was executed, as a path; it may be another by now: */
    const char *build_id; /* what the linker called it, in hexadecimal digits; "": it was linked without --build-id */
    struct timespec when; /* it had failed; time of day, UTC */
    double ran;           /* seconds that this attempt took; 0: not known */
    double cpu;           /* seconds of CPU, user and system, that its worker had used in its life; 0: not known */
    uint64_t rss;         /* bytes of memory, the most that its worker ever had; 0: not known */
    bool by_oom;          /* the kernel killed the worker because memory ran out */
    bool has_address;     /* a crash was about a certain address: */
    uintptr_t address;    /* which */
    bool output_cut;      /* more was written to standard output than is kept: the end is here */
    bool errors_cut;      /* likewise, standard error */
    const char *output;   /* what the item wrote to standard output, where that is captured (.output, pool.h) */
    const char *errors;   /* likewise, standard error. Neither need be text; there is a zero behind */
    size_t output_size;   /* bytes */
    size_t errors_size;   /* bytes */
    mp_status
        input_status;  /* MP_OK: the input is here. MP_ELIMIT: it is larger than MP_RECORD_INPUT_MAX; MP_ETYPE: it has an
                                address in it (mp_ptr), which means nothing elsewhere; else why it could not be encoded */
    const void *input; /* the input as it travels: one msgpack value (serial/FORMAT.md, all in line); NULL when not kept */
    uint64_t input_size; /* bytes that it has or would have; 0: not known */
    uint64_t type_hash;  /* of the task's types: a program with another one cannot run it again */
    bool at_open; /* run again, it needs what the program had when it opened its pool: the pool forked its workers, or
                                runs threads, or has an initializer */
} mp_record;

MP__BEGIN
/* The record of an error; NULL: there never was one, or newer ones have taken its place. `error` is borrowed, the record is given:
 * free it. Never blocks for long. */
MP__API const mp_record *mp_error_record(const mp_error *error);

/* Gives a record back and sets `*record` to NULL; NULL is fine. */
MP__API void mp_record_free(const mp_record **record);

/* Where a worker was when it crashed or was ended, one line for each function: "#0 mean at stats.c:41 (/usr/bin/survey)", the one
 * that was running first, the task last. "" when nothing is known. Names and lines come from the files that were running, as they are
 * now: function and line where they have debugging information, else what there is, down to an offset in the file. Made when
 * first asked for, which takes milliseconds and reads those files; borrowed until the record is freed. */
MP__API const char *mp_record_backtrace(const mp_record *record);

/* Writes all that a record says, for people, in several lines, as mp_error_format does: at most `size` bytes with the final zero;
 * returns the length that the whole has. */
MP__API size_t mp_record_format(const mp_record *record, char *text, size_t size);

/* Writes a record into a file, for mp_record_load, mp_replay and millpond-replay; there is either the whole file or what was there
 * before. Only its owner may read it, for the input is in it. MP_EINVAL: no record or no path; MP_ENOMEM; MP_ESYSTEM: errno says
 * why, the message which file. Blocks for the disk. */
MP__API mp_status mp_record_save(const mp_record *record, const char *path, mp_error *error);

/* Reads one; `*record` is given, NULL on failure. MP_EFORMAT: the file is no record, or is damaged; MP_ELIMIT: it is far too large;
 * otherwise as mp_record_save. Files of other versions of the library are refused in so many words. */
MP__API mp_status mp_record_load(const char *path, const mp_record **record, mp_error *error);

/* Runs the item of a saved record again, here, in the calling thread, without a pool: its task, found by name, gets the same input,
 * item and attempt; its worker is MP_NO_WORKER. Returns what the task does, and its message; the result is thrown away. A task that
 * crashes does so here: that is the purpose (gdb). MP_EUNREGISTERED: this program has no such task; MP_EMISMATCH: it has, with other
 * types; MP_EINVAL: the input was not kept; otherwise as mp_record_load, or what the task returned.
 *
 * A program whose environment has MP_REPLAY=FILE does this by itself and exits, with 0 if the item succeeds, else 1: where it opens
 * its first pool, having run that pool's initializer; or, if the record does not need this (at_open), in mp_main. That is what
 * millpond-replay makes it do. */
MP__API mp_status mp_replay(const char *path, mp_error *error);
MP__END
#endif
