/* The job: the words of one file, as a task for a pool, and of many files in two ways that must agree. */
#ifndef WORDCOUNT_COUNT_H
#define WORDCOUNT_COUNT_H
#include "examples/wordcount/files.h"
#include "examples/wordcount/tally.h"
#include <millpond.h>

/* What was found out about all files. */
typedef struct totals {
    tally words;
    uint64_t files, binaries, bytes;
    paths unreadable; /* "path: reason" */
} totals;
void totals_fini(totals *of);
bool totals_equal(const totals *a, const totals *b);

/* One file after the other, here. False: no memory. */
bool count_serially(const paths *files, totals *into);

/* The same in a pool: `workers` and `chunksize` are the pool's, 0 lets it choose. A file that cannot be counted goes to
 * `into->unreadable`, and the others go on. False: the whole failed, see `error`. */
bool count_in_pool(const paths *files, int workers, ptrdiff_t chunksize, totals *into, mp_error *error);

#endif
